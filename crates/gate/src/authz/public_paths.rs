//! The paths of L1 may be read by everyone, with credentials or without (upstream: ClusterRole `system:public-info-viewer`).

use crate::authn::PUBLIC_PATHS;
use crate::identity::Identity;

use super::{Attributes, Authorizer, PathRule, Rules, Target, Verdict};

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

    fn rules(&self, _: &Identity, _: &str, rules: &mut Rules) {
        let paths = PUBLIC_PATHS.iter().map(|path| (*path).to_owned()).collect();
        rules.paths.push(PathRule { verbs: vec!["get".to_owned()], paths });
    }
}
