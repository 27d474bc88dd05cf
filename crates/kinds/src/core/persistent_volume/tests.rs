//! What a volume may say, and what may change of it.

#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;

use super::*;
use crate::testing::{complaints, created, json, update_complaints};

/// A volume of NFS with more in its spec.
fn of(spec: &str) -> Tree {
    with(r#""nfs":{"server":"a","path":"/b"}"#, spec)
}

/// A volume made of this, with more in its spec.
fn with(source: &str, spec: &str) -> Tree {
    volume(&format!(r#""capacity":{{"storage":"1Gi"}},"accessModes":["ReadWriteOnce"],{source}{spec}"#))
}

fn volume(spec: &str) -> Tree {
    created(&STRATEGY, "v1", "PersistentVolume", &format!(r#"{{"metadata":{{"name":"v"}},"spec":{{{spec}}}}}"#))
}

#[test]
fn a_volume_says_how_much_for_whom_and_where() {
    let check = |tree: &Tree, expected: &[&str]| assert_eq!(complaints(&STRATEGY, tree), expected);
    check(&of(""), &[]);
    check(
        &volume(""),
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            r#"spec.capacity: Unsupported value: null: supported values: "storage""#,
            "spec: Required value: must specify a volume type",
        ],
    );
    check(
        &volume(
            r#""capacity":{"storage":"-1"},"accessModes":["ReadWriteOncePod","ReadOnlyMany"],"local":{"path":"/a/../b"}"#,
        ),
        &[
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            r#"spec.capacity[storage]: Invalid value: "-1": must be greater than zero"#,
            r#"spec.local.path: Invalid value: "/a/../b": must not contain '..'"#,
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ],
    );
    check(
        &of(
            r#","persistentVolumeReclaimPolicy":"Burn","volumeMode":"Tape","volumeAttributesClassName":"","nodeAffinity":{}"#,
        ),
        &[
            r#"spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain""#,
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
            r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#,
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
        ],
    );
    for (path, is_refused) in [("/", true), ("/a/..", true), ("/a", false), ("//.", true)] {
        let source = format!(r#""hostPath":{{"path":"{path}"}},"persistentVolumeReclaimPolicy":"Recycle""#);
        let found = complaints(&STRATEGY, &with(&source, ""));
        let why = "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'";
        assert_eq!(found.iter().any(|line| line == why), is_refused, "{path}");
    }
}

#[test]
fn every_source_says_what_it_needs() {
    let check = |source: &str, expected: &[&str]| {
        let lines = complaints(&STRATEGY, &with(source, ""));
        let short: Vec<&str> = lines.iter().map(|line| line.strip_prefix("spec.").unwrap()).collect();
        assert_eq!(short, expected, "{source}");
    };
    check(r#""hostPath":{"path":"/a","type":"Directory"}"#, &[]);
    check(r#""gcePersistentDisk":{"pdName":""}"#, &["persistentDisk.pdName: Required value"]);
    check(
        r#""glusterfs":{"endpoints":"","path":"a","endpointsNamespace":""}"#,
        &[
            "glusterfs.endpoints: Required value",
            r#"glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name"#,
        ],
    );
    check(r#""rbd":{"monitors":[]}"#, &["rbd.monitors: Required value", "rbd.image: Required value"]);
    check(r#""cephfs":{"monitors":[]}"#, &["cephfs.monitors: Required value"]);
    let long = "a".repeat(63);
    check(
        &format!(
            r#""iscsi":{{"targetPortal":"{long}","iqn":"eui.1","lun":256,"chapAuthSession":true,"initiatorName":"x","secretRef":{{}}}}"#
        ),
        &[
            &format!(
                r#"iscsi.targetportal: Invalid value: "{long}": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."#
            ),
            r#"iscsi.iqn: Invalid value: "eui.1": must be valid format"#,
            "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            "iscsi.secretRef.name: Required value",
            r#"iscsi.initiatorname: Invalid value: "x": must be valid format"#,
        ],
    );
    check(
        r#""cinder":{"volumeID":"a","secretRef":{}}"#,
        &["cinder.secretRef.name: Required value", "cinder.secretRef.namespace: Required value"],
    );
    check(
        r#""flexVolume":{"driver":"","options":{"a.k8s.io/b":"c"}}"#,
        &[
            "flexVolume.driver: Required value",
            r#"flexVolume.options[a.k8s.io/b]: Invalid value: "a.k8s.io/b": kubernetes.io and k8s.io namespaces are reserved"#,
        ],
    );
    check(
        r#""azureFile":{"secretName":"a","shareName":"","secretNamespace":""}"#,
        &["azureFile.shareName: Required value", "azureFile.secretNamespace: Required value"],
    );
    check(
        r#""scaleIO":{}"#,
        &["scaleIO.gateway: Required value", "scaleIO.system: Required value", "scaleIO.volumeName: Required value"],
    );
    check(
        r#""storageos":{"volumeName":"a","secretRef":{"name":"b"}}"#,
        &["storageos.secretRef.namespace: Required value"],
    );
    check(
        r#""csi":{"driver":"","nodeStageSecretRef":{},"nodePublishSecretRef":{"name":"A"}}"#,
        &[
            "csi.driver: Required value",
            "csi.volumeHandle: Required value",
            &format!(r#"csi.nodePublishSecretRef.name: Invalid value: "A": {SUBDOMAIN}"#),
            "csi.nodePublishSecretRef.namespace: Required value",
        ],
    );
    check(
        r#""nfs":{"server":"a","path":"/b"},"cephfs":{"monitors":[]},"csi":{},"flexVolume":{"driver":""}"#,
        &[
            "cephFS: Forbidden: may not specify more than 1 volume type",
            "flexVolume.driver: Required value",
            "csi: Forbidden: may not specify more than 1 volume type",
        ],
    );
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
                         with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

#[test]
fn mount_options_were_an_annotation() {
    let of = |source: &str| {
        let text = format!(
            r#"{{"metadata":{{"name":"v","annotations":{{"volume.beta.kubernetes.io/mount-options":"hard"}}}},
                "spec":{{"capacity":{{"storage":"1"}},"accessModes":["ReadWriteOnce"],{source}}}}}"#
        );
        created(&STRATEGY, "v1", "PersistentVolume", &text)
    };
    assert!(complaints(&STRATEGY, &of(r#""nfs":{"server":"a","path":"/b"}"#)).is_empty());
    assert_eq!(
        complaints(&STRATEGY, &of(r#""hostPath":{"path":"/b"}"#)),
        [
            "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"
        ]
    );
    let mut warnings = Vec::new();
    (STRATEGY.warn_create)(&of(r#""glusterfs":{"endpoints":"a","path":"b"}"#), &mut warnings);
    assert_eq!(
        warnings,
        [
            r#"metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead"#,
            "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
        ]
    );
}

/// A volume on nodes with this label.
fn on(label: &str) -> Tree {
    of(&format!(
        r#","nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"{label}","operator":"In","values":["a"]}}]}}]}}}}"#
    ))
}

#[test]
fn a_volume_stays_what_it_is_made_of() {
    const IMMUTABLE: &str =
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation";
    const AFFINITY: &str = "field is immutable, except for updating from beta label to GA";
    let check = |new: &Tree, old: &Tree, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, new, old, "");
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected) || found.ends_with(expected), "{found}");
        }
    };
    check(&of(r#","storageClassName":"slow","mountOptions":["x"]"#), &of(""), &[]);
    check(&with(r#""nfs":{"server":"b","path":"/b"}"#, ""), &of(""), &[IMMUTABLE]);
    check(&of(r#","volumeMode":"Block""#), &of(""), &[r#"volumeMode: Invalid value: "Block": field is immutable"#]);
    // What is wrong with the volume itself is said twice.
    let twice = r#"spec.accessModes: Unsupported value: "Mine": supported values: "#;
    let wrong = volume(r#""capacity":{"storage":"1Gi"},"accessModes":["Mine"],"nfs":{"server":"a","path":"/b"}"#);
    check(&wrong, &of(""), &[twice, twice]);
    check(&on("zone"), &of(""), &[]);
    check(&on("zone"), &on("zone"), &[]);
    check(&on("zone"), &on("rack"), &[AFFINITY]);
    check(&of(""), &on("zone"), &[AFFINITY]);
    check(&on("topology.kubernetes.io/zone"), &on("failure-domain.beta.kubernetes.io/zone"), &[]);
    check(&on("failure-domain.beta.kubernetes.io/zone"), &on("topology.kubernetes.io/zone"), &[AFFINITY]);
    let csi = |more: &str| with(&format!(r#""csi":{{"driver":"a","volumeHandle":"b"{more}}}"#), "");
    let (secret, other) = (
        r#","controllerExpandSecretRef":{"name":"a","namespace":"b"}"#,
        r#","controllerExpandSecretRef":{"name":"c","namespace":"b"}"#,
    );
    check(&csi(secret), &csi(""), &[]);
    check(&csi(other), &csi(secret), &[IMMUTABLE]);
    check(&csi(""), &csi(secret), &[IMMUTABLE]);
    let classed = with(r#""csi":{"driver":"a","volumeHandle":"b"}"#, r#","volumeAttributesClassName":"gold""#);
    check(
        &csi(""),
        &classed,
        &["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
    );
}

#[test]
fn a_phase_has_a_time() {
    let status = |status: &str| {
        let text = format!(r#"{{"metadata":{{"name":"v"}},"status":{{{status}}}}}"#);
        crate::testing::read("v1", "PersistentVolume", &text)
    };
    let check = |new: &str, old: &str, expected: Option<&str>| {
        let mut new = status(new);
        prepare_update(&mut new, &status(old), "status", 1_000_000_000);
        assert_eq!(json(&new)["status"]["lastPhaseTransitionTime"].as_str(), expected);
    };
    let old = r#""phase":"Available","lastPhaseTransitionTime":"2020-01-01T00:00:00Z""#;
    check(r#""phase":"Available""#, old, Some("2020-01-01T00:00:00Z"));
    check(r#""phase":"Bound""#, old, Some("2001-09-09T01:46:40Z"));
    check(r#""phase":"Bound","lastPhaseTransitionTime":"2020-01-01T00:00:00Z""#, old, Some("2001-09-09T01:46:40Z"));
    check(r#""phase":"Bound","lastPhaseTransitionTime":"2021-01-01T00:00:00Z""#, old, Some("2021-01-01T00:00:00Z"));
}

#[test]
fn sources_have_what_is_usual() {
    let made = |source: &str| json(&with(source, ""))["spec"].clone();
    assert_eq!(made(r#""hostPath":{"path":"/a"}"#)["hostPath"]["type"], "");
    assert_eq!(made(r#""rbd":{"monitors":["a"],"image":"b","pool":""}"#)["rbd"]["keyring"], "/etc/ceph/keyring");
    assert_eq!(made(r#""iscsi":{"targetPortal":"a","iqn":"b","lun":0}"#)["iscsi"]["iscsiInterface"], "default");
    assert_eq!(made(r#""azureDisk":{"diskName":"a","diskURI":"b"}"#)["azureDisk"]["cachingMode"], "ReadWrite");
    assert_eq!(made(r#""scaleIO":{"gateway":"a","system":"b","secretRef":{}}"#)["scaleIO"]["fsType"], "xfs");
    let volume = made(r#""nfs":{"server":"a","path":"/b"}"#);
    assert_eq!(
        (&volume["persistentVolumeReclaimPolicy"], &volume["volumeMode"]),
        (&"Retain".into(), &"Filesystem".into())
    );
}

#[test]
fn what_a_table_shows() {
    let tree = with(
        r#""nfs":{"server":"a","path":"/b"}"#,
        r#","claimRef":{"namespace":"harbor","name":"disk"},"storageClassName":"slow""#,
    );
    let text =
        |column: &str| cell(&tree, column).map(|cell| if let Cell::Text(text) = cell { text } else { String::new() });
    let check = |column: &str, expected: &str| assert_eq!(text(column).as_deref(), Some(expected), "{column}");
    check("Capacity", "1Gi");
    check("Access Modes", "RWO");
    check("Status", "Pending");
    check("Claim", "harbor/disk");
    check("StorageClass", "slow");
    assert_eq!(text("Name"), None);
}
