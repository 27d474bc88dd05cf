//! The paths of L1 may be read by everyone, with credentials or without (upstream: ClusterRole `system:public-info-viewer`).

use crate::authn::PUBLIC_PATHS;

use super::{Attributes, Authorizer, Target, Verdict};

pub(super) struct PublicPaths;

impl Authorizer for PublicPaths {
    fn name(&self) -> &'static str {
        "public paths"
    }

    fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        match attributes.target {
            Target::Path(path) if attributes.verb == "get" && PUBLIC_PATHS.contains(&path) => {
                Verdict::Allow { reason: "L1: the path is public".to_owned() }
            }
            _ => Verdict::no_opinion(),
        }
    }
}
