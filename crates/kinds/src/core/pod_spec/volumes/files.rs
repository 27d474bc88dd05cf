//! Files of the node, and such as come with an image or a repository (upstream: `validateHostPathVolumeSource`,
//! `validateGitRepoVolumeSource`, `validateImageVolumeSource`; KEP-4639 for images).

use portcullis_model::quantity::Quantity;

use crate::views::core_v1::{EmptyDirVolumeSource, GitRepoVolumeSource, HostPathVolumeSource, ImageVolumeSource};
use crate::vocabulary::{Errors, Path, local_paths, names as named};

/// What must be, or is made, at a path of the node.
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// A folder that lives as long as the pod.
pub fn empty_dir(source: EmptyDirVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    let limit = source.size_limit().and_then(|limit| Quantity::parse(limit).ok());
    if limit.is_some_and(|limit| limit.sign() < 0) {
        errors.forbidden(&at.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

/// A file or folder of the node.
pub fn host_path(source: HostPathVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.path().is_empty() {
        errors.required(&at.field("path"), "");
        return;
    }
    local_paths::no_backsteps(source.path(), &at.field("path"), errors);
    if let Some(kind) = source.type_() {
        named::one_of(kind, HOST_PATH_TYPES, &at.field("type"), errors);
    }
}

/// A checkout of a repository.
pub fn git_repo(source: GitRepoVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_repository(at, errors);
    local_paths::descending(source.directory(), &at.field("directory"), errors);
}

/// The files of an image. In a template the image may be named later.
pub fn image(source: ImageVolumeSource<'_>, must_be_named: bool, at: &Path<'_>, errors: &mut Errors) {
    if must_be_named {
        source.check_reference(at, errors);
    }
    source.check_pull_policy(at, errors);
}
