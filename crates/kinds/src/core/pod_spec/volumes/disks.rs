//! Disks that are attached to a node (upstream: the `validate*VolumeSource` functions of clouds and block protocols).

use crate::views::core_v1::{
    AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, CinderVolumeSource, FCVolumeSource,
    GCEPersistentDiskVolumeSource, ISCSIVolumeSource, PhotonPersistentDiskVolumeSource, PortworxVolumeSource,
    ScaleIOVolumeSource, StorageOSVolumeSource, VsphereVirtualDiskVolumeSource,
};
use crate::views::shown;
use crate::vocabulary::{Errors, Path};

/// Longest name of a volume with its portal, where an initiator is named.
pub const INITIATOR_LEN_MAX: usize = 64;
/// What is said of a longer one.
pub const INITIATOR_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                                      iscsi.initiatorName is specified.";
/// How names of iSCSI begin.
const ISCSI_FORMS: [&str; 3] = ["iqn", "eui", "naa"];
/// Where managed disks of Azure are.
const MANAGED_URI: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
/// Where other disks of Azure are.
const BLOB_URI: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";

/// A disk of Google's cloud.
pub fn gce(source: GCEPersistentDiskVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_pd_name(at, errors);
    source.check_partition(at, errors);
}

/// A disk of Amazon's cloud.
pub fn aws(source: AWSElasticBlockStoreVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_id(at, errors);
    source.check_partition(at, errors);
}

/// A disk of Azure.
pub fn azure_disk(source: AzureDiskVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_disk_name(at, errors);
    source.check_disk_uri(at, errors);
    source.check_caching_mode(at, errors);
    source.check_kind(at, errors);
    let (uri, at) = (source.disk_uri(), at.field("diskURI"));
    match source.kind() {
        Some("Managed") if !uri.starts_with("/subscriptions/") => errors.not_supported(&at, uri, &[MANAGED_URI]),
        Some("Managed") | None => {}
        Some(_) if !uri.starts_with("https://") => errors.not_supported(&at, uri, &[BLOB_URI]),
        Some(_) => {}
    }
}

/// A disk of OpenStack.
pub fn cinder(source: CinderVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_id(at, errors);
    if let Some(secret) = source.secret_ref() {
        secret.check_name(&at.field("secretRef"), errors);
    }
}

/// A disk of vSphere.
pub fn vsphere(source: VsphereVirtualDiskVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_path(at, errors);
}

/// A disk of a Photon controller.
pub fn photon(source: PhotonPersistentDiskVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_pd_id(at, errors);
}

/// A disk of Portworx.
pub fn portworx(source: PortworxVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_id(at, errors);
}

/// A disk of ScaleIO.
pub fn scale_io(source: ScaleIOVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_gateway(at, errors);
    source.check_system(at, errors);
    source.check_volume_name(at, errors);
}

/// A disk of StorageOS.
pub fn storage_os(source: StorageOSVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_name(at, errors);
    source.check_volume_namespace(at, errors);
    if let Some(secret) = source.secret_ref() {
        secret.check_name(&at.field("secretRef"), errors);
    }
}

/// A disk behind fibre channel: by the names of its ports and a number, or by its own identifiers.
pub fn fc(source: FCVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (ports, ids) = (source.target_wwns(), source.wwids());
    let place = at.field("targetWWNs");
    if ports.is_empty() && ids.is_empty() {
        errors.required(&place, "must specify either targetWWNs or wwids, but not both");
    }
    if !ports.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&place, shown(source.place().get(FCVolumeSource::TARGET_WWNS)), why);
    }
    if ports.is_empty() {
        return;
    }
    if source.lun().is_none() {
        errors.required(&at.field("lun"), "lun is required if targetWWNs is specified");
    }
    source.check_lun(at, errors);
}

/// A disk behind iSCSI.
pub fn iscsi(source: ISCSIVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_target_portal(at, errors);
    match source.iqn() {
        "" => errors.required(&at.field("iqn"), ""),
        name => iscsi_form(name, &at.field("iqn"), errors),
    }
    source.check_lun(at, errors);
    if (source.chap_auth_discovery() || source.chap_auth_session()) && source.secret_ref().is_none() {
        errors.required(&at.field("secretRef"), "");
    }
    if let Some(name) = source.initiator_name() {
        iscsi_form(name, &at.field("initiatorname"), errors);
    }
}

/// Says which forms there are to who uses none of them.
fn iscsi_form(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if !ISCSI_FORMS.iter().any(|form| name.starts_with(form)) {
        errors.invalid(at, name, "must be valid format starting with iqn, eui, or naa");
    } else if !is_iscsi_name(name) {
        errors.invalid(at, name, "must be valid format");
    }
}

/// With an initiator of its own a volume's name goes into a name of limited length. `at` is where the volume stands.
pub fn iscsi_name(source: ISCSIVolumeSource<'_>, volume: &str, at: &Path<'_>, errors: &mut Errors) {
    if source.initiator_name().is_some() && volume.len() + 1 + source.target_portal().len() > INITIATOR_LEN_MAX {
        errors.invalid(&at.field("name"), volume, INITIATOR_TOO_LONG);
    }
}

/// A name of one of the three forms (RFC 3720): `iqn.2001-04.com.example:disk`, `eui.` and 16 digits, `naa.` and 32 digits.
#[must_use]
pub fn is_iscsi_name(name: &str) -> bool {
    let is_digits = |rest: &str, count: usize| {
        let mut after = rest.chars();
        after.next().is_some_and(|separator| separator != '\n')
            && after.as_str().len() == count
            && after.as_str().bytes().all(|octet| octet.is_ascii_alphanumeric())
    };
    match name.split_at_checked(3) {
        Some(("iqn", _)) => is_iqn(name),
        Some(("eui", rest)) => is_digits(rest, 16),
        Some(("naa", rest)) => is_digits(rest, 32),
        _ => false,
    }
}

/// `iqn.`, year and month, a domain backwards, a colon and what the domain's owner chose.
fn is_iqn(name: &str) -> bool {
    // What stands before the last `iqn.` that fits does not count.
    name.match_indices("iqn.").any(|(at, _)| {
        let rest = name.get(at + 4..).unwrap_or_default();
        let is_number = |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
        let dated = is_number(rest.get(..4))
            && rest.get(4..5) == Some("-")
            && is_number(rest.get(5..7))
            && rest.get(7..8) == Some(".");
        let Some((domain, chosen)) = rest.get(8..).and_then(|rest| rest.split_once(':')) else { return false };
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.';
        let chosen_fits =
            !chosen.is_empty() && !chosen.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\x0c']);
        dated && !domain.is_empty() && domain.bytes().all(fits) && chosen_fits
    })
}
