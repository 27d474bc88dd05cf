//! Names that belong to configurations from files (upstream: `ManifestBasedAdmissionControlConfig`, KEP-5793, which is off).

/// What such a name ends with.
pub const SUFFIX: &str = ".static.k8s.io";

/// The client is told that its name will be refused one day.
pub fn warn(name: &str, warnings: &mut Vec<String>) {
    if name.ends_with(SUFFIX) {
        warnings.push(format!(
            "metadata.name: names ending with \"{SUFFIX}\" will be reserved for static manifest-based configurations when the \
             ManifestBasedAdmissionControlConfig feature gate is enabled"
        ));
    }
}
