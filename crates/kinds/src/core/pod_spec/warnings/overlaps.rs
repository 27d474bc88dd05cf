//! Files of one volume that hide one another (upstream: `warningsForOverlappingVirtualPaths`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::views::List;
use crate::views::core_v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume, VolumeProjection};

/// Most overlaps that are told: a client is not shown as many anyway, and each file may meet all others.
const OVERLAPS_MAX: usize = 256;

/// A file, and what it comes from if the volume has several sources.
struct File<'t> {
    path: &'t str,
    source: Option<Cow<'static, str>>,
}

impl File<'_> {
    fn shown(&self) -> String {
        match &self.source {
            Some(source) => format!("{:?} ({source})", self.path),
            None => format!("{:?}", self.path),
        }
    }
}

/// Tells of files that stand where another one of the same volume stands, or above or below it.
pub(super) fn warn(spec: PodSpec<'_>, warnings: &mut Vec<String>) {
    for volume in spec.volumes().iter() {
        if let Some(map) = volume.config_map() {
            among(volume, &format!("ConfigMap {:?}", map.name()), items(map.items(), None), warnings);
        }
        if let Some(secret) = volume.secret() {
            among(volume, &format!("Secret {:?}", secret.secret_name()), items(secret.items(), None), warnings);
        }
        if let Some(fields) = volume.downward_api() {
            among(volume, "DownwardAPI", downward(fields.items(), None), warnings);
        }
        let Some(projected) = volume.projected() else { continue };
        let mut files = Vec::new();
        for source in projected.sources().iter() {
            match of_source(source) {
                Some(more) => files.extend(more),
                None => warnings.push(format!("volume {:?} (Projected) has no sources provided", volume.name())),
            }
        }
        among(volume, "Projected", files, warnings);
    }
}

fn items<'t>(list: List<'t, KeyToPath<'t>>, source: Option<Cow<'static, str>>) -> Vec<File<'t>> {
    list.iter().map(|item| File { path: item.path(), source: source.clone() }).collect()
}

fn downward<'t>(list: List<'t, DownwardAPIVolumeFile<'t>>, source: Option<Cow<'static, str>>) -> Vec<File<'t>> {
    list.iter().map(|file| File { path: file.path(), source: source.clone() }).collect()
}

/// The files of one source of several; None if it is of no kind.
fn of_source(source: VolumeProjection<'_>) -> Option<Vec<File<'_>>> {
    let one = |path, source: Cow<'static, str>| File { path, source: Some(source) };
    if let Some(map) = source.config_map() {
        return Some(items(map.items(), Some(format!("ConfigMap {:?}", map.name()).into())));
    }
    if let Some(secret) = source.secret() {
        return Some(items(secret.items(), Some(format!("Secret {:?}", secret.name()).into())));
    }
    if let Some(fields) = source.downward_api() {
        return Some(downward(fields.items(), Some("DownwardAPI".into())));
    }
    if let Some(token) = source.service_account_token() {
        return Some(vec![one(token.path(), "ServiceAccountToken".into())]);
    }
    if let Some(bundle) = source.cluster_trust_bundle() {
        let name = bundle.name().or(bundle.signer_name()).unwrap_or_default();
        return Some(vec![one(bundle.path(), format!("ClusterTrustBundle {name:?}").into())]);
    }
    let certificate = source.pod_certificate()?;
    let paths = [certificate.credential_bundle_path(), certificate.key_path(), certificate.certificate_chain_path()];
    Some(paths.into_iter().filter(|path| !path.is_empty()).map(|path| one(path, "PodCertificate".into())).collect())
}

/// Tells of each file that meets an earlier one, earlier ones in their order.
fn among(volume: Volume<'_>, what: &str, files: Vec<File<'_>>, warnings: &mut Vec<String>) {
    if files.len() < 2 {
        return;
    }
    // Earlier files by their path with a slash behind: those below a path follow it in this order, those above are its beginnings.
    let mut told = 0;
    let mut earlier: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let path = file.path.trim_end_matches('/');
        if path.is_empty() {
            continue;
        }
        let path = format!("{path}/");
        let mut met: Vec<usize> = earlier
            .range(path.clone()..)
            .take_while(|(other, _)| other.starts_with(&path))
            .flat_map(|(_, files)| files.iter().copied())
            .take(OVERLAPS_MAX)
            .collect();
        for (at, _) in path.match_indices('/').filter(|(at, _)| at + 1 < path.len()) {
            met.extend(path.get(..=at).and_then(|above| earlier.get(above)).into_iter().flatten().take(OVERLAPS_MAX));
        }
        met.sort_unstable();
        for other in met.into_iter().filter_map(|other| files.get(other)) {
            told += 1;
            if told > OVERLAPS_MAX {
                return;
            }
            let (name, file, other) = (volume.name(), file.shown(), other.shown());
            warnings.push(format!("volume {name:?} ({what}): overlapping paths: {file} with {other}"));
        }
        earlier.entry(path).or_default().push(index);
    }
}
