//! The messages of KMS v2, by their field numbers: the service `v2.KeyManagementService`, and the envelope that is stored
//! (upstream: `k8s.io/kms/apis/v2` and `EncryptedObject`).
//!
//! Written by hand, because generating them needs a protobuf compiler on the machine that builds.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeroize::Zeroize as _;

pub(super) const STATUS: &str = "/v2.KeyManagementService/Status";
pub(super) const ENCRYPT: &str = "/v2.KeyManagementService/Encrypt";
pub(super) const DECRYPT: &str = "/v2.KeyManagementService/Decrypt";

/// The envelope's key is itself the key of AES-GCM: what 1.27 and 1.28 wrote.
pub(super) const SOURCE_KEY: i32 = 0;
/// The envelope's key is the seed of one key a value: what is written since 1.29.
pub(super) const SOURCE_SEED: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "2")]
    pub(super) healthz: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncryptResponse {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) ciphertext: Bytes,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DecryptRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) ciphertext: Bytes,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
}

/// What is stored behind the prefix.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncryptedObject {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) encrypted_data: Bytes,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) encrypted_dek_source: Bytes,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub(super) encrypted_dek_source_type: i32,
}

/// A message with a key in it shows nothing and is wiped.
macro_rules! wiped {
    ($message:ty) => {
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($message))
            }
        }

        impl Drop for $message {
            fn drop(&mut self) {
                self.plaintext.zeroize();
            }
        }
    };
}

wiped!(EncryptRequest);
wiped!(DecryptResponse);
