//! Which objects a node's work leads to (upstream: the node authoriser's graph and its populator).
//!
//! Secrets, config maps, service accounts, claims and resource claims come with the pods that are bound to a node; a volume with the
//! claim that it is bound to, and the secrets that its driver reads on the node with the volume. What one object says is kept by itself
//! and never looks at another, so changes may come in any order between objects. Names are kept once for all who say them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// Kinds of objects that a node reaches through what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelatedKind {
    /// Bound to the node.
    Pod,
    /// Of a pod, or of a volume that a pod's claim is bound to.
    Secret,
    /// Of a pod.
    ConfigMap,
    /// Of a pod.
    ServiceAccount,
    /// Of a pod.
    PersistentVolumeClaim,
    /// Bound to a pod's claim.
    PersistentVolume,
    /// Of a pod, named by it or made for it.
    ResourceClaim,
    /// To the node.
    VolumeAttachment,
    /// Of the node's devices.
    ResourceSlice,
}

/// A namespace and a name in it.
type Named<'a> = (&'a str, &'a str);

/// Objects and the nodes they lead to.
#[derive(Debug, Default)]
pub struct NodeGraph {
    names: Names,
    pods: HashMap<Place, Pod>,
    /// How many pods of a node refer to an object.
    uses: HashMap<Use, u32>,
    /// How many pods of a node use a claim, by node: the way from a node to the secrets of its volumes.
    claims: HashMap<NameId, HashMap<Place, u32>>,
    volumes: HashMap<NameId, Volume>,
    volumes_by_claim: HashMap<Place, HashSet<NameId>>,
    volumes_by_secret: HashMap<Place, HashSet<NameId>>,
    attachments: HashMap<NameId, NameId>,
    slices: HashMap<NameId, NameId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NameId(u32);

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    namespace: NameId,
    name: NameId,
}

#[derive(Debug)]
struct Pod {
    node: NameId,
    /// In the pod's namespace; sorted, each once.
    references: Box<[(RelatedKind, NameId)]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Use {
    kind: RelatedKind,
    place: Place,
    node: NameId,
}

#[derive(Debug)]
struct Volume {
    claim: Place,
    secrets: Box<[Place]>,
}

impl NodeGraph {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Says that a pod is bound to a node and to what it refers in its namespace. Replaces what was said of it before.
    pub fn set_pod(&mut self, (namespace, name): Named<'_>, node: &str, references: &[(RelatedKind, &str)]) {
        let place = self.hold_place((namespace, name));
        let node = self.names.hold(node);
        let mut held: Vec<(RelatedKind, NameId)> =
            references.iter().map(|(kind, name)| (*kind, self.names.hold(name))).collect();
        held.sort_unstable();
        held.dedup_by(|again, first| {
            let is_same = again == first;
            if is_same {
                self.names.release(again.1);
            }
            is_same
        });
        for (kind, name) in &held {
            let place = Place { namespace: place.namespace, name: *name };
            *self.uses.entry(Use { kind: *kind, place, node }).or_default() += 1;
            if *kind == RelatedKind::PersistentVolumeClaim {
                *self.claims.entry(node).or_default().entry(place).or_default() += 1;
            }
        }
        if let Some(before) = self.pods.insert(place, Pod { node, references: held.into() }) {
            self.forget_pod(place, &before);
        }
    }

    /// Says that a pod is gone, or not bound to a node.
    pub fn remove_pod(&mut self, (namespace, name): Named<'_>) {
        let Some(place) = self.names.place(namespace, name) else { return };
        if let Some(pod) = self.pods.remove(&place) {
            self.forget_pod(place, &pod);
        }
    }

    fn forget_pod(&mut self, place: Place, pod: &Pod) {
        for (kind, name) in &pod.references {
            let referred = Place { namespace: place.namespace, name: *name };
            count_down(&mut self.uses, Use { kind: *kind, place: referred, node: pod.node });
            if *kind == RelatedKind::PersistentVolumeClaim
                && let Some(claims) = self.claims.get_mut(&pod.node)
            {
                count_down(claims, referred);
                if claims.is_empty() {
                    self.claims.remove(&pod.node);
                }
            }
            self.names.release(*name);
        }
        self.names.release(pod.node);
        self.release_place(place);
    }

    /// Says to which claim a volume is bound and which secrets a node needs to mount it. Replaces what was said of it before.
    pub fn set_volume(&mut self, name: &str, claim: Named<'_>, secrets: &[Named<'_>]) {
        let name = self.names.hold(name);
        let claim = self.hold_place(claim);
        let secrets: Box<[Place]> = secrets.iter().map(|secret| self.hold_place(*secret)).collect();
        // The old first: it may be in the same sets.
        if let Some(before) = self.volumes.remove(&name) {
            self.forget_volume(name, &before);
        }
        self.volumes_by_claim.entry(claim).or_default().insert(name);
        for secret in &secrets {
            self.volumes_by_secret.entry(*secret).or_default().insert(name);
        }
        self.volumes.insert(name, Volume { claim, secrets });
    }

    /// Says that a volume is gone, or not bound to a claim.
    pub fn remove_volume(&mut self, name: &str) {
        let Some(name) = self.names.find(name) else { return };
        if let Some(volume) = self.volumes.remove(&name) {
            self.forget_volume(name, &volume);
        }
    }

    fn forget_volume(&mut self, name: NameId, volume: &Volume) {
        take_out(&mut self.volumes_by_claim, volume.claim, name);
        for secret in &volume.secrets {
            take_out(&mut self.volumes_by_secret, *secret, name);
            self.release_place(*secret);
        }
        self.release_place(volume.claim);
        self.names.release(name);
    }

    /// Says to which node a volume attachment belongs.
    pub fn set_attachment(&mut self, name: &str, node: &str) {
        set_owner(&mut self.names, &mut self.attachments, name, node);
    }

    /// Says that a volume attachment is gone.
    pub fn remove_attachment(&mut self, name: &str) {
        remove_owner(&mut self.names, &mut self.attachments, name);
    }

    /// Says of which node's devices a resource slice is.
    pub fn set_slice(&mut self, name: &str, node: &str) {
        set_owner(&mut self.names, &mut self.slices, name, node);
    }

    /// Says that a resource slice is gone, or of no single node.
    pub fn remove_slice(&mut self, name: &str) {
        remove_owner(&mut self.names, &mut self.slices, name);
    }

    /// Says whether the object has to do with what the node runs. An object of the cluster has no namespace. Takes a few looks into
    /// tables; for a secret of a volume, as many as the node's pods use claims or as volumes use the secret, whichever are fewer.
    pub fn reaches(&self, node: &str, kind: RelatedKind, namespace: &str, name: &str) -> bool {
        let Some(node) = self.names.find(node) else { return false };
        let is_owned = |owners: &HashMap<NameId, NameId>| {
            let owner = self.names.find(name).and_then(|name| owners.get(&name));
            namespace.is_empty() && owner == Some(&node)
        };
        match kind {
            RelatedKind::VolumeAttachment => return is_owned(&self.attachments),
            RelatedKind::ResourceSlice => return is_owned(&self.slices),
            RelatedKind::PersistentVolume => {
                let volume = self.names.find(name).and_then(|name| self.volumes.get(&name));
                return namespace.is_empty() && volume.is_some_and(|volume| self.uses_claim(node, volume.claim));
            }
            _ => {}
        }
        let Some(place) = self.names.place(namespace, name) else { return false };
        match kind {
            RelatedKind::Pod => self.pods.get(&place).is_some_and(|pod| pod.node == node),
            RelatedKind::Secret => {
                self.uses.contains_key(&Use { kind, place, node }) || self.has_volume_with_secret(node, place)
            }
            _ => self.uses.contains_key(&Use { kind, place, node }),
        }
    }

    fn uses_claim(&self, node: NameId, claim: Place) -> bool {
        self.uses.contains_key(&Use { kind: RelatedKind::PersistentVolumeClaim, place: claim, node })
    }

    fn has_volume_with_secret(&self, node: NameId, secret: Place) -> bool {
        let Some(volumes) = self.volumes_by_secret.get(&secret) else { return false };
        let Some(claims) = self.claims.get(&node) else { return false };
        if volumes.len() <= claims.len() {
            let volume = |name| self.volumes.get(name);
            return volumes.iter().filter_map(volume).any(|volume| claims.contains_key(&volume.claim));
        }
        let of_claim = |claim| self.volumes_by_claim.get(claim);
        claims.keys().filter_map(of_claim).flatten().any(|volume| volumes.contains(volume))
    }

    fn hold_place(&mut self, (namespace, name): Named<'_>) -> Place {
        Place { namespace: self.names.hold(namespace), name: self.names.hold(name) }
    }

    fn release_place(&mut self, place: Place) {
        self.names.release(place.namespace);
        self.names.release(place.name);
    }
}

fn set_owner(names: &mut Names, owners: &mut HashMap<NameId, NameId>, name: &str, node: &str) {
    let (name, node) = (names.hold(name), names.hold(node));
    if let Some(before) = owners.insert(name, node) {
        names.release(name);
        names.release(before);
    }
}

fn remove_owner(names: &mut Names, owners: &mut HashMap<NameId, NameId>, name: &str) {
    let Some(name) = names.find(name) else { return };
    if let Some(node) = owners.remove(&name) {
        names.release(name);
        names.release(node);
    }
}

fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

fn take_out(sets: &mut HashMap<Place, HashSet<NameId>>, key: Place, name: NameId) {
    if let Some(set) = sets.get_mut(&key) {
        set.remove(&name);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

/// Every name once, for as long as somebody holds it.
#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, NameId>,
    slots: Vec<Slot>,
    free: Vec<NameId>,
}

#[derive(Debug, Default)]
struct Slot {
    text: Arc<str>,
    holders: u32,
}

impl Names {
    fn find(&self, text: &str) -> Option<NameId> {
        self.ids.get(text).copied()
    }

    fn place(&self, namespace: &str, name: &str) -> Option<Place> {
        Some(Place { namespace: self.find(namespace)?, name: self.find(name)? })
    }

    /// Finds a name or keeps it. Whoever holds it releases it once.
    fn hold(&mut self, text: &str) -> NameId {
        let id = match self.ids.get(text) {
            Some(id) => *id,
            None => self.keep(text),
        };
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.holders += 1;
        }
        id
    }

    fn keep(&mut self, text: &str) -> NameId {
        let text: Arc<str> = text.into();
        let slot = Slot { text: Arc::clone(&text), holders: 0 };
        let id = match self.free.pop() {
            Some(id) => id,
            // Four billion names do not fit into memory.
            None => NameId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX)),
        };
        match self.slots.get_mut(id.0 as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.ids.insert(text, id);
        id
    }

    fn release(&mut self, id: NameId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        slot.holders -= 1;
        if slot.holders == 0 {
            let slot = std::mem::take(slot);
            self.ids.remove(&*slot.text);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
