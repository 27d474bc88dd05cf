#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const NAMESPACES: [&str; 2] = ["a", "b"];
/// Few enough that changes meet.
const NAMES: [&str; 4] = ["w", "x", "y", "z"];
const OF_PODS: [RelatedKind; 5] = [
    RelatedKind::Secret,
    RelatedKind::ConfigMap,
    RelatedKind::ServiceAccount,
    RelatedKind::PersistentVolumeClaim,
    RelatedKind::ResourceClaim,
];
const OF_CLUSTER: [RelatedKind; 3] =
    [RelatedKind::PersistentVolume, RelatedKind::VolumeAttachment, RelatedKind::ResourceSlice];
const CHANGES: usize = 600;
const SEEDS: u64 = 24;

/// Numbers that a seed determines (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % below as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    fn named(&mut self) -> Named<'static> {
        (self.pick(&NAMESPACES), self.pick(&NAMES))
    }
}

type References = Vec<(RelatedKind, &'static str)>;

/// The objects themselves, from which a graph can be built.
#[derive(Default)]
struct Objects {
    pods: BTreeMap<Named<'static>, (&'static str, References)>,
    volumes: BTreeMap<&'static str, (Named<'static>, Vec<Named<'static>>)>,
    attachments: BTreeMap<&'static str, &'static str>,
    slices: BTreeMap<&'static str, &'static str>,
}

impl Objects {
    fn graph(&self) -> NodeGraph {
        let mut graph = NodeGraph::default();
        // Another order than that of the changes: slices first.
        self.slices.iter().for_each(|(name, node)| graph.set_slice(name, node));
        self.attachments.iter().for_each(|(name, node)| graph.set_attachment(name, node));
        self.volumes.iter().for_each(|(name, (claim, secrets))| graph.set_volume(name, *claim, secrets));
        self.pods.iter().for_each(|(place, (node, references))| graph.set_pod(*place, node, references));
        graph
    }

    /// What upstream's walk of edges would find, by looking at every object.
    fn reaches(&self, node: &str, kind: RelatedKind, place: Named<'_>) -> bool {
        let uses = |kind: RelatedKind, (namespace, name): Named<'_>| {
            self.pods.iter().any(|((of_pod, _), (at, references))| {
                *of_pod == namespace && *at == node && references.contains(&(kind, name))
            })
        };
        let claimed = |claim: Named<'_>| uses(RelatedKind::PersistentVolumeClaim, claim);
        match kind {
            RelatedKind::Pod => self.pods.get(&place).is_some_and(|(at, _)| *at == node),
            RelatedKind::Secret => {
                uses(kind, place)
                    || self.volumes.values().any(|(claim, secrets)| secrets.contains(&place) && claimed(*claim))
            }
            RelatedKind::PersistentVolume => self.volumes.get(place.1).is_some_and(|(claim, _)| claimed(*claim)),
            RelatedKind::VolumeAttachment => self.attachments.get(place.1) == Some(&node),
            RelatedKind::ResourceSlice => self.slices.get(place.1) == Some(&node),
            _ => uses(kind, place),
        }
    }

    fn change(&mut self, graph: &mut NodeGraph, dice: &mut Dice) {
        let (place, node) = (dice.named(), dice.pick(&NODES));
        match dice.roll(9) {
            0..=2 => {
                let references: References =
                    (0..dice.roll(5)).map(|_| (dice.pick(&OF_PODS), dice.pick(&NAMES))).collect();
                graph.set_pod(place, node, &references);
                self.pods.insert(place, (node, references));
            }
            3 => {
                graph.remove_pod(place);
                self.pods.remove(&place);
            }
            4..=5 => {
                let secrets: Vec<Named<'_>> = (0..dice.roll(3)).map(|_| dice.named()).collect();
                let claim = dice.named();
                graph.set_volume(place.1, claim, &secrets);
                self.volumes.insert(place.1, (claim, secrets));
            }
            6 => {
                graph.remove_volume(place.1);
                self.volumes.remove(place.1);
            }
            7 => match self.attachments.insert(place.1, node) {
                None => graph.set_attachment(place.1, node),
                Some(_) => {
                    graph.remove_attachment(place.1);
                    self.attachments.remove(place.1);
                }
            },
            _ => match self.slices.insert(place.1, node) {
                Some(before) if before != node => graph.set_slice(place.1, node),
                None => graph.set_slice(place.1, node),
                Some(_) => {
                    graph.remove_slice(place.1);
                    self.slices.remove(place.1);
                }
            },
        }
    }
}

/// Every question there is.
fn questions() -> Vec<(&'static str, RelatedKind, Named<'static>)> {
    let mut questions = Vec::new();
    for node in NODES {
        for name in NAMES {
            let namespaced = OF_PODS.into_iter().chain([RelatedKind::Pod]);
            questions.extend(namespaced.flat_map(|kind| NAMESPACES.map(|namespace| (node, kind, (namespace, name)))));
            questions.extend(OF_CLUSTER.map(|kind| (node, kind, ("", name))));
        }
    }
    questions
}

#[test]
fn the_graph_is_that_of_its_objects_whatever_happened_before() {
    let questions = questions();
    for seed in 0..SEEDS {
        let (mut dice, mut objects, mut graph) = (Dice(seed), Objects::default(), NodeGraph::default());
        for change in 0..CHANGES {
            objects.change(&mut graph, &mut dice);
            if change % 20 != 0 {
                continue;
            }
            let rebuilt = objects.graph();
            for (node, kind, (namespace, name)) in &questions {
                let what = format!("seed {seed}, change {change}: {node} to {kind:?} {namespace}/{name}");
                let expected = objects.reaches(node, *kind, (namespace, name));
                assert_eq!(graph.reaches(node, *kind, namespace, name), expected, "{what}");
                assert_eq!(rebuilt.reaches(node, *kind, namespace, name), expected, "{what}, rebuilt");
            }
            assert_eq!(graph.names.ids.len(), rebuilt.names.ids.len(), "seed {seed}, change {change}: names");
            assert_eq!(graph.uses.len(), rebuilt.uses.len(), "seed {seed}, change {change}: uses");
        }
        for place in NAMESPACES.into_iter().flat_map(|namespace| NAMES.map(|name| (namespace, name))) {
            graph.remove_pod(place);
            graph.remove_volume(place.1);
            graph.remove_attachment(place.1);
            graph.remove_slice(place.1);
        }
        let left = (graph.names.ids.len(), graph.uses.len(), graph.claims.len(), graph.volumes_by_claim.len());
        assert_eq!(left, (0, 0, 0, 0), "seed {seed}: something is left");
        assert!(graph.volumes_by_secret.is_empty(), "seed {seed}: something is left");
    }
}

#[test]
fn an_object_of_the_cluster_has_no_namespace() {
    let mut graph = NodeGraph::default();
    graph.set_pod(("a", "w"), "n1", &[(RelatedKind::PersistentVolumeClaim, "x")]);
    graph.set_volume("y", ("a", "x"), &[]);
    graph.set_attachment("y", "n1");
    graph.set_slice("y", "n1");
    for kind in OF_CLUSTER {
        assert!(graph.reaches("n1", kind, "", "y"), "{kind:?}");
        assert!(!graph.reaches("n1", kind, "a", "y"), "{kind:?}");
        assert!(!graph.reaches("a", kind, "", "y"), "{kind:?}: a namespace is no node");
    }
}

/// Both ways from a secret to a node's volumes say the same.
#[test]
fn many_volumes_share_a_secret() {
    let mut graph = NodeGraph::default();
    let names: Vec<String> = (0..100).map(|number| format!("v{number}")).collect();
    for name in &names {
        graph.set_volume(name, ("a", name), &[("kube-system", "driver")]);
    }
    let check = |graph: &NodeGraph, node: &str, expected: bool| {
        assert_eq!(graph.reaches(node, RelatedKind::Secret, "kube-system", "driver"), expected, "{node}");
    };
    check(&graph, "n1", false);
    graph.set_pod(("a", "p"), "n1", &[(RelatedKind::PersistentVolumeClaim, "v7")]);
    graph.set_pod(("b", "p"), "n2", &[(RelatedKind::PersistentVolumeClaim, "v7")]);
    check(&graph, "n1", true);
    check(&graph, "n2", false);
    names.iter().skip(8).for_each(|name| graph.remove_volume(name));
    let claims: Vec<(RelatedKind, &str)> =
        names.iter().map(|name| (RelatedKind::PersistentVolumeClaim, name.as_str())).collect();
    graph.set_pod(("a", "q"), "n1", &claims);
    check(&graph, "n1", true);
    check(&graph, "n2", false);
    graph.remove_pod(("a", "p"));
    graph.remove_pod(("a", "q"));
    check(&graph, "n1", false);
}
