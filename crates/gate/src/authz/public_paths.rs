//! The paths of L1 may be read by everyone, with credentials or without (upstream: ClusterRole `system:public-info-viewer`).

use crate::authn::PUBLIC_PATHS;
use crate::identity::Identity;

use super::{Attributes, Authorizer, Decision, PathRule, Rules, Target, Verdict};

pub(super) struct PublicPaths;

impl Authorizer for PublicPaths {
    fn name(&self) -> &'static str {
        "public paths"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(match attributes.target {
            Target::Path(path) if attributes.verb == "get" && PUBLIC_PATHS.contains(&path) => {
                Verdict::allow("L1: the path is public")
            }
            _ => Verdict::no_opinion(),
        })
    }

    fn rules(&self, _: &Identity, _: &str, rules: &mut Rules) {
        let is_listed = |path: &&str| rules.paths.iter().any(|rule| rule.paths.iter().any(|listed| listed == path));
        let paths: Vec<String> =
            PUBLIC_PATHS.iter().filter(|path| !is_listed(path)).map(|path| (*path).to_owned()).collect();
        if !paths.is_empty() {
            rules.paths.push(PathRule { verbs: vec!["get".to_owned()], paths });
        }
    }
}
