//! Volumes that a driver brings (upstream: `validateCSIVolumeSource`, `validateFlexVolumeSource`; KEP-596).

use portcullis_model::names;

use crate::views::Map;
use crate::views::core_v1::{CSIVolumeSource, FlexVolumeSource};
use crate::vocabulary::{Errors, Path};

/// Longest name of a driver.
const DRIVER_LEN_MAX: usize = 63;

/// A volume of a CSI driver.
pub fn csi(source: CSIVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    driver_name(source.driver(), &at.field("driver"), errors);
    let Some(secret) = source.node_publish_secret_ref() else { return };
    if secret.name().is_empty() {
        errors.required(&at.field("nodePublishSecretRef.name"), "");
    } else {
        // Clients know this path as it is.
        errors.complain(&at.field("name"), secret.name(), names::dns1123_subdomain(secret.name()));
    }
}

/// The name of a CSI driver (upstream: `ValidateCSIDriverName`): a domain, in which capitals are allowed.
pub fn driver_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > DRIVER_LEN_MAX {
        errors.too_long(at, DRIVER_LEN_MAX);
    }
    errors.complain(at, name, names::dns1123_subdomain(&name.to_ascii_lowercase()));
}

/// A volume of a program on the node.
pub fn flex_volume(source: FlexVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_driver(at, errors);
    flex_options(source.options(), &at.field("options"), errors);
}

/// Options under Kubernetes' own domains are set by the node alone.
pub fn flex_options(options: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (key, _) in options.iter() {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain).to_ascii_lowercase();
        let is_of = |own: &str| domain.strip_suffix(own).is_some_and(|above| above.is_empty() || above.ends_with('.'));
        if is_of("kubernetes.io") || is_of("k8s.io") {
            errors.invalid(&at.key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}
