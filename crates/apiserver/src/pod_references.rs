//! The secrets and config maps that a pod names (upstream: `podutil.VisitPodSecretNames` and `VisitPodConfigmapNames`).
//!
//! The node authoriser lets a node read them for its pods, and NodeRestriction refuses them to the pods that a node makes itself: both
//! ask here, so that nothing is readable through a field that the other does not look at.

use portcullis_gate::RelatedKind::{self, ConfigMap, Secret};
use portcullis_kinds::views::List;
use portcullis_kinds::views::core_v1::{EnvFromSource, EnvVar, Pod, Volume, VolumeProjection};

/// What a pod names, in its own namespace: some of it more than once, nothing without a name.
pub(crate) fn secrets_and_config_maps<'t>(pod: Pod<'t>) -> Vec<(RelatedKind, &'t str)> {
    let spec = pod.spec();
    let mut found: Vec<(RelatedKind, &'t str)> =
        spec.image_pull_secrets().iter().map(|secret| (Secret, secret.name())).collect();
    for container in spec.init_containers().iter().chain(spec.containers().iter()) {
        of_environment(&mut found, container.env(), container.env_from());
    }
    for container in spec.ephemeral_containers().iter() {
        of_environment(&mut found, container.env(), container.env_from());
    }
    for volume in spec.volumes().iter() {
        of_volume(&mut found, volume);
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn of_environment<'t>(
    found: &mut Vec<(RelatedKind, &'t str)>,
    variables: List<'t, EnvVar<'t>>,
    sources: List<'t, EnvFromSource<'t>>,
) {
    for source in sources.iter() {
        found.extend(source.secret_ref().map(|secret| (Secret, secret.name())));
        found.extend(source.config_map_ref().map(|config| (ConfigMap, config.name())));
    }
    for source in variables.iter().filter_map(|variable| variable.value_from()) {
        found.extend(source.secret_key_ref().map(|secret| (Secret, secret.name())));
        found.extend(source.config_map_key_ref().map(|config| (ConfigMap, config.name())));
    }
}

fn of_volume<'t>(found: &mut Vec<(RelatedKind, &'t str)>, volume: Volume<'t>) {
    let secrets = [
        volume.secret().map(|volume| volume.secret_name()),
        volume.azure_file().map(|volume| volume.secret_name()),
        volume.cephfs().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.cinder().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.flex_volume().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.rbd().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.scale_io().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.iscsi().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.storageos().and_then(|volume| volume.secret_ref()).map(|secret| secret.name()),
        volume.csi().and_then(|volume| volume.node_publish_secret_ref()).map(|secret| secret.name()),
    ];
    found.extend(secrets.into_iter().flatten().map(|name| (Secret, name)));
    found.extend(volume.config_map().map(|volume| (ConfigMap, volume.name())));
    for source in projections(volume) {
        found.extend(source.secret().map(|secret| (Secret, secret.name())));
        found.extend(source.config_map().map(|config| (ConfigMap, config.name())));
    }
}

/// The sources that a projected volume puts together; none for another volume.
pub(crate) fn projections<'t>(volume: Volume<'t>) -> impl Iterator<Item = VolumeProjection<'t>> {
    volume.projected().into_iter().flat_map(|projected| projected.sources().iter())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_kinds::views;
    use portcullis_model::schema::decode_json::{self, FieldValidation};

    use super::*;

    #[test]
    fn every_field_that_names_one_is_read() {
        let check = |spec: &str, expected: &[(RelatedKind, &str)]| {
            let text = format!(r#"{{"metadata":{{"name":"p"}},"spec":{spec}}}"#).into_bytes();
            let decoded = decode_json::decode(portcullis_kinds::schema(), Pod::TYPE, text, FieldValidation::Strict);
            let tree = decoded.unwrap().tree;
            assert_eq!(secrets_and_config_maps(views::read::<Pod>(&tree)), expected, "{spec}");
        };
        let volume = |source: &str| format!(r#"{{"volumes":[{{"name":"v",{source}}}]}}"#);
        check(r#"{"containers":null}"#, &[]);
        check(r#"{"imagePullSecrets":[{"name":"a"},{}]}"#, &[(Secret, "a")]);
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            let list = r#"[{"name":"c","envFrom":[{"secretRef":{"name":"a"}},{"configMapRef":{"name":"b"}}],
                "env":[{"name":"X","value":"x"},{"name":"Y","valueFrom":{"secretKeyRef":{"name":"c","key":"k"}}},
                {"name":"Z","valueFrom":{"configMapKeyRef":{"name":"d","key":"k"}}}]}]"#;
            let expected = [(Secret, "a"), (ConfigMap, "b"), (Secret, "c"), (ConfigMap, "d")];
            check(&format!(r#"{{"{containers}":{list}}}"#), &expected);
        }
        check(&volume(r#""secret":{"secretName":"a"}"#), &[(Secret, "a")]);
        check(&volume(r#""azureFile":{"secretName":"a","shareName":"s"}"#), &[(Secret, "a")]);
        check(&volume(r#""cephfs":{"monitors":["m"],"secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""cinder":{"volumeID":"i","secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""flexVolume":{"driver":"d","secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""rbd":{"monitors":["m"],"image":"i","secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""scaleIO":{"gateway":"g","system":"s","secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""iscsi":{"targetPortal":"p","iqn":"q","lun":0,"secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""storageos":{"secretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""csi":{"driver":"d","nodePublishSecretRef":{"name":"a"}}"#), &[(Secret, "a")]);
        check(&volume(r#""configMap":{"name":"a"}"#), &[(ConfigMap, "a")]);
        check(
            &volume(r#""projected":{"sources":[{"secret":{"name":"a"}},{"configMap":{"name":"b"}},{"secret":{}}]}"#),
            &[(Secret, "a"), (ConfigMap, "b")],
        );
        check(&volume(r#""emptyDir":{}"#), &[]);
    }
}
