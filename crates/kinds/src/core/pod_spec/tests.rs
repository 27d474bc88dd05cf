#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{lines, read};
use crate::views;
use crate::views::core_v1::{PodEdit, PodTemplate};

/// A pod with a container and this beside it, defaulted.
fn pod(more: &str) -> portcullis_model::tree::Tree {
    let text = format!(
        r#"{{"metadata":{{"name":"tide"}},"spec":{{"containers":[{{"name":"a","image":"a:1"}}]{}{more}}}}}"#,
        if more.is_empty() { "" } else { "," }
    );
    let mut tree = read("v1", "Pod", &text);
    portcullis_model::schema::default::apply(crate::schema(), &mut tree);
    default(views::write::<PodEdit<'_>>(&mut tree).spec_mut());
    tree
}

fn complaints(more: &str, old: Option<&str>) -> Vec<String> {
    let (tree, old) = (pod(more), old.map(pod));
    let (new, old) = (views::read::<Pod<'_>>(&tree), old.as_ref().map(views::read::<Pod<'_>>));
    let mut errors = Errors::new();
    validate(new.spec(), Context::of_pod(new, old), &Path::new("spec"), &mut errors);
    lines(errors)
}

fn check(more: &str, expected: &[&str]) {
    assert_eq!(complaints(more, None), expected, "{more}");
    // What is defaulted once is not defaulted again.
    let mut tree = pod(more);
    let before = crate::testing::json(&tree);
    default(views::write::<PodEdit<'_>>(&mut tree).spec_mut());
    assert_eq!(crate::testing::json(&tree), before, "{more}");
}

fn warned(more: &str, expected: &[&str]) {
    let tree = pod(more);
    let new = views::read::<Pod<'_>>(&tree);
    let mut warnings = Vec::new();
    warn(new.spec(), Context::of_pod(new, None), &Path::new("spec"), &mut warnings);
    assert_eq!(warnings, expected, "{more}");
}

#[test]
fn a_spec_is_filled_in() {
    let tree = pod(r#""volumes":[{"name":"v"},{"name":"s","secret":{"secretName":"x"}}],"serviceAccount":"robot""#);
    let spec = views::read::<Pod<'_>>(&tree).spec();
    assert_eq!(
        (spec.dns_policy(), spec.restart_policy(), spec.scheduler_name()),
        ("ClusterFirst", "Always", "default-scheduler")
    );
    assert_eq!(spec.termination_grace_period_seconds(), Some(30));
    assert!(spec.security_context().is_some());
    assert_eq!(spec.service_account_name(), "robot");
    let volumes: Vec<Volume<'_>> = spec.volumes().iter().collect();
    assert!(volumes[0].empty_dir().is_some());
    assert_eq!(volumes[1].secret().unwrap().default_mode(), Some(0o644));
    let tree = pod(r#""volumes":[{"name":"a","azureDisk":{"diskName":"a","diskURI":"b"}}]"#);
    let disk = views::read::<Pod<'_>>(&tree).spec().volumes().iter().next().unwrap().azure_disk().unwrap();
    assert_eq!((disk.kind(), disk.read_only()), (Some("Shared"), Some(false)));
}

#[test]
fn a_spec_says_what_upstream_knows() {
    check("", &[]);
    check(
        r#""restartPolicy":"other","dnsPolicy":"other""#,
        &[
            r#"spec.restartPolicy: Unsupported value: "other": supported values: "Always", "OnFailure", "Never""#,
            r#"spec.dnsPolicy: Unsupported value: "other": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None""#,
        ],
    );
    check(
        r#""activeDeadlineSeconds":0"#,
        &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    );
    check(r#""preemptionPolicy":"""#, &["spec.preemptionPolicy: Required value"]);
    check(r#""hostUsers":false,"hostPID":true"#, &["spec.HostPID: Forbidden: when `hostUsers` is false"]);
    check(
        r#""os":{"name":"windows"},"securityContext":{"runAsUser":1}"#,
        &["spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"],
    );
    check(r#""os":{"name":""}"#, &["spec.os.name: Required value: cannot be empty"]);
    check(
        r#""hostAliases":[{"ip":"010.0.0.1","hostnames":["a"]}]"#,
        &[r#"spec.hostAliases[0].ip: Invalid value: "010.0.0.1": must not have leading 0s"#],
    );
    check(
        r#""resourceClaims":[{"name":"a"},{"name":"a","resourceClaimName":"x"}]"#,
        &[
            r#"spec.resourceClaims[0]: Invalid value: {"name":"a"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"#,
            r#"spec.resourceClaims[1].name: Duplicate value: "a""#,
        ],
    );
}

#[test]
fn dns_without_a_policy_brings_its_servers() {
    check(
        r#""dnsPolicy":"None""#,
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    check(
        r#""dnsPolicy":"None","dnsConfig":{"options":[{}]}"#,
        &[
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ],
    );
    check(
        r#""dnsConfig":{"nameservers":["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"],"searches":[".","_a.b."],"options":[{}]}"#,
        &[
            r#"spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]: must not have more than 3 nameservers"#,
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ],
    );
}

#[test]
fn kernel_parameters_are_the_pods_own() {
    let of = |names: &[&str], more: &str| {
        let list: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}","value":"1"}}"#)).collect();
        format!(r#""securityContext":{{"sysctls":[{}]}}{more}"#, list.join(","))
    };
    check(&of(&["net.core.somaxconn", "kernel.sem", "net/ipv4/ip.forward"], ""), &[]);
    check(&of(&["a", "a"], ""), &[r#"spec.securityContext.sysctls[1].name: Duplicate value: "a""#]);
    check(
        &of(&["net.core.somaxconn", "net/x", "network.x"], r#","hostNetwork":true"#),
        &[
            r#"spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": may not be specified when 'hostNetwork' is true"#,
            r#"spec.securityContext.sysctls[1].name: Invalid value: "net/x": may not be specified when 'hostNetwork' is true"#,
        ],
    );
    let shared = of(&["kernel.shmmax", "kernel.sem", "kernel.semx", "fs.mqueue.a"], r#","hostIPC":true"#);
    assert_eq!(complaints(&shared, None).len(), 3);
    assert_eq!(complaints(&shared, Some(&shared)), [""; 0]);
}

#[test]
fn a_volume_has_a_name_and_one_source() {
    check(r#""volumes":[{"name":"v"}]"#, &[]);
    check(
        r#""volumes":[{"name":"","nfs":{"server":"","path":"x"},"hostPath":{"path":"/a"}}]"#,
        &[
            "spec.volumes[0].nfs: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[0].name: Required value",
        ],
    );
    check(r#""volumes":[{"name":"v"},{"name":"v"}]"#, &[r#"spec.volumes[1].name: Duplicate value: "v""#]);
    check(
        r#""volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"tide-e"}},{"name":"e","ephemeral":{}}]"#,
        &[
            r#"spec.volumes[0].persistentVolumeClaim.claimName: Invalid value: "tide-e": must not reference a PVC that gets created for an ephemeral volume"#,
            "spec.volumes[1].ephemeral.volumeClaimTemplate: Required value",
        ],
    );
    check(
        r#""volumes":[{"name":"p","projected":{"sources":[{"serviceAccountToken":{"path":"../x","expirationSeconds":1}},{}]}}]"#,
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            r#"spec.volumes[0].projected.path: Invalid value: "../x": must not contain '..'"#,
        ],
    );
}

#[test]
fn every_source_says_what_it_needs() {
    let check = |source: &str, expected: &[&str]| {
        let lines = complaints(&format!(r#""volumes":[{{"name":"v",{source}}}]"#), None);
        let short: Vec<&str> = lines.iter().map(|line| line.strip_prefix("spec.volumes[0].").unwrap()).collect();
        assert_eq!(short, expected, "{source}");
    };
    check(
        r#""gcePersistentDisk":{"pdName":"","partition":256}"#,
        &[
            "gcePersistentDisk.pdName: Required value",
            "gcePersistentDisk.partition: Invalid value: 256: must be between 0 and 255, inclusive",
        ],
    );
    check(r#""awsElasticBlockStore":{"volumeID":""}"#, &["awsElasticBlockStore.volumeID: Required value"]);
    check(
        r#""gitRepo":{"repository":"","directory":"/a"}"#,
        &["gitRepo.repository: Required value", r#"gitRepo.directory: Invalid value: "/a": must be a relative path"#],
    );
    check(
        r#""iscsi":{"targetPortal":"","iqn":"eui.1","lun":0,"chapAuthSession":true}"#,
        &[
            "iscsi.targetPortal: Required value",
            r#"iscsi.iqn: Invalid value: "eui.1": must be valid format"#,
            "iscsi.secretRef: Required value",
        ],
    );
    check(
        r#""iscsi":{"targetPortal":"a","iqn":"disk","lun":0,"initiatorName":"me"}"#,
        &[
            r#"iscsi.iqn: Invalid value: "disk": must be valid format starting with iqn, eui, or naa"#,
            r#"iscsi.initiatorname: Invalid value: "me": must be valid format starting with iqn, eui, or naa"#,
        ],
    );
    check(r#""iscsi":{"targetPortal":"a","iqn":"iqn.2001-04.com.example:disk","lun":0}"#, &[]);
    check(r#""iscsi":{"targetPortal":"a","iqn":"naa.62004567ba64678d0123456789abcdef","lun":0}"#, &[]);
    check(
        r#""glusterfs":{"endpoints":"","path":""}"#,
        &["glusterfs.endpoints: Required value", "glusterfs.path: Required value"],
    );
    check(r#""flocker":{}"#, &["flocker: Required value: one of datasetName and datasetUUID is required"]);
    check(r#""rbd":{"monitors":[],"image":""}"#, &["rbd.monitors: Required value", "rbd.image: Required value"]);
    check(
        r#""cinder":{"volumeID":"","secretRef":{}}"#,
        &["cinder.volumeID: Required value", "cinder.secretRef.name: Required value"],
    );
    check(r#""cephfs":{"monitors":[]}"#, &["cephfs.monitors: Required value"]);
    check(
        r#""quobyte":{"registry":"a,b:1","volume":""}"#,
        &[
            r#"quobyte.registry: Invalid value: "a,b:1": must be a host:port pair or multiple pairs separated by commas"#,
            "quobyte.volume: Required value",
        ],
    );
    check(r#""fc":{}"#, &["fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"]);
    check(
        r#""fc":{"targetWWNs":["a"],"lun":300}"#,
        &["fc.lun: Invalid value: 300: must be between 0 and 255, inclusive"],
    );
    check(
        r#""flexVolume":{"driver":"","options":{"x.k8s.io/a":"b"}}"#,
        &[
            "flexVolume.driver: Required value",
            r#"flexVolume.options[x.k8s.io/a]: Invalid value: "x.k8s.io/a": kubernetes.io and k8s.io namespaces are reserved"#,
        ],
    );
    check(
        r#""azureFile":{"secretName":"","shareName":""}"#,
        &["azureFile.secretName: Required value", "azureFile.shareName: Required value"],
    );
    check(
        r#""azureDisk":{"diskName":"a","diskURI":"b"}"#,
        &[
            r#"azureDisk.diskURI: Unsupported value: "b": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd""#,
        ],
    );
    check(r#""vsphereVolume":{"volumePath":""}"#, &["vsphereVolume.volumePath: Required value"]);
    check(r#""photonPersistentDisk":{"pdID":""}"#, &["photonPersistentDisk.pdID: Required value"]);
    check(r#""portworxVolume":{"volumeID":""}"#, &["portworxVolume.volumeID: Required value"]);
    check(r#""storageos":{}"#, &["storageos.volumeName: Required value"]);
    check(
        r#""scaleIO":{"gateway":"","system":"","secretRef":null}"#,
        &["scaleIO.gateway: Required value", "scaleIO.system: Required value", "scaleIO.volumeName: Required value"],
    );
    check(
        r#""csi":{"driver":"","nodePublishSecretRef":{}}"#,
        &["csi.driver: Required value", "csi.nodePublishSecretRef.name: Required value"],
    );
    check(r#""image":{"reference":""}"#, &["image.reference: Required value"]);
    check(
        r#""configMap":{"items":[{"key":"","path":"/a","mode":512}]}"#,
        &[
            "configMap.name: Required value",
            "configMap.items[0].key: Required value",
            r#"configMap.items[0].path: Invalid value: "/a": must be a relative path"#,
            "configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ],
    );
    check(
        r#""emptyDir":{"sizeLimit":"-1"}"#,
        &["emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
    );
}

#[test]
fn spread_constraints_differ() {
    let one = |more: &str| {
        format!(r#"{{"maxSkew":1,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule","labelSelector":{{}}{more}}}"#)
    };
    check(&format!(r#""topologySpreadConstraints":[{}]"#, one("")), &[]);
    check(
        &format!(r#""topologySpreadConstraints":[{},{}]"#, one(""), one(r#","minDomains":0"#)),
        &[
            r#"spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a, DoNotSchedule}""#,
            "spec.topologySpreadConstraints[1].minDomains: Invalid value: 0: must be greater than zero",
        ],
    );
}

#[test]
fn what_was_let_in_once_may_stay() {
    let affinity = r#""affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"In","values":["-"]}]}]}}}"#;
    assert_eq!(complaints(affinity, None).len(), 1);
    assert_eq!(complaints(affinity, Some("")).len(), 1);
    assert_eq!(complaints(affinity, Some(affinity)), [""; 0]);
}

#[test]
fn a_template_has_no_ephemeral_containers() {
    let tree = read(
        "v1",
        "PodTemplate",
        r#"{"template":{"metadata":{"labels":{"a":"-"},"annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"containers":[{"name":"a","image":"a"}],"ephemeralContainers":[{"name":"e","image":"e"}]}}}"#,
    );
    let template = views::read::<PodTemplate<'_>>(&tree).template();
    let mut errors = Errors::new();
    validate_template(template, None, &Path::new("template"), &mut errors);
    let lines = lines(errors);
    assert!(lines.first().unwrap().starts_with(r#"template.labels: Invalid value: "-""#), "{lines:?}");
    assert!(lines.get(1).unwrap().starts_with("template.annotations[kubernetes.io/config.mirror]: Invalid value"));
    assert_eq!(
        lines.last().unwrap(),
        "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
    );
}

#[test]
fn clients_are_told_of_what_works_otherwise_than_they_think() {
    warned("", &[]);
    warned(
        r#""nodeSelector":{"beta.kubernetes.io/os":"linux"},"volumes":[{"name":"r","rbd":{"monitors":["a"],"image":"b"}}]"#,
        &[
            r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#,
            "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
        ],
    );
    warned(
        r#""imagePullSecrets":[{"name":"a"},{"name":"a"},{}],"hostAliases":[{"ip":"::1"},{"ip":"0::1"},{"ip":"::1"}]"#,
        &[
            r#"spec.hostAliases[2].ip: duplicate ip "::1""#,
            r#"spec.imagePullSecrets[1].name: duplicate name "a""#,
            r#"spec.imagePullSecrets[2].name: invalid empty name """#,
            r#"spec.hostAliases[1].ip: IPv6 address "0::1" should be in RFC 5952 canonical format ("::1")"#,
        ],
    );
    warned(
        r#""volumes":[{"name":"p","projected":{"sources":[{},{"serviceAccountToken":{"path":"a"}},{"configMap":{"name":"c","items":[{"key":"k","path":"a/b"}]}}]}}]"#,
        &[
            r#"volume "p" (Projected) has no sources provided"#,
            r#"volume "p" (Projected): overlapping paths: "a/b" (ConfigMap "c") with "a" (ServiceAccountToken)"#,
        ],
    );
}

/// A repository's own hooks ran on the node when its checkout was put where they were not expected. The driver is off; what would have
/// been told to it stays within the volume, whoever asks hears that nothing is fetched, and no restricted pod has it.
#[test]
fn cve_2024_10220_a_checkout_stays_in_its_volume() {
    let of = |directory: &str| {
        format!(
            r#""volumes":[{{"name":"v","gitRepo":{{"repository":"https://example.com/a","directory":"{directory}"}}}}]"#
        )
    };
    let at = "spec.volumes[0].gitRepo.directory: Invalid value:";
    check(&of("."), &[]);
    check(&of("a"), &[]);
    check(&of(".."), &[&format!(r#"{at} "..": must not contain '..'"#)]);
    check(&of("a/../../b"), &[&format!(r#"{at} "a/../../b": must not contain '..'"#)]);
    check(&of("/etc"), &[&format!(r#"{at} "/etc": must be a relative path"#)]);
    warned(&of("a"), &["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"]);
}
