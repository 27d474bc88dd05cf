#![allow(clippy::unwrap_used)]

use super::*;
use crate::authn::jwt::{Dial, Fetch};
use crate::live_file::FILE_LEN_MAX;

struct Nowhere;

impl Dial for Nowhere {
    fn fetcher(&self, _: &str, _: &str) -> Result<Arc<dyn Fetch>, FetchError> {
        Err(FetchError("there is no network".to_owned()))
    }
}

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authentication.yaml");
    let write = |text: &str| std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
    let anonymous = Arc::new(Anonymous::default());
    let issuers = Arc::new(JwtIssuers::new(Box::new(Nowhere)));
    let open_with =
        |flag| ConfigurationFile::open(&path, Vec::new(), flag, Arc::clone(&issuers), Arc::clone(&anonymous));
    let open = || open_with(None);

    assert!(matches!(open(), Err(ConfigurationFileError::File(LiveFileError::Unreadable { .. }))));
    write("anonymous: {enable: true}");
    assert!(matches!(open(), Err(ConfigurationFileError::Configuration { .. })));
    write("anonymous: {enabled: true, conditions: [{path: /a}]}");
    assert!(matches!(open_with(Some(true)), Err(ConfigurationFileError::AnonymousTwice(_))));
    let file = open().unwrap();
    let of_a = AnonymousPaths::Public { further: vec!["/a".to_owned()] };
    let check = |expected: &AnonymousPaths| assert_eq!(*anonymous.paths(), *expected);
    check(&of_a);

    assert_eq!(file.look().unwrap(), Reload::Unchanged, "nothing changed");
    write("anonymous: {enabled: [}");
    assert!(matches!(file.look(), Err(ConfigurationFileError::Configuration { .. })));
    check(&of_a);
    assert_eq!(file.look().unwrap(), Reload::Unchanged, "the same content is complained about once");
    write("jwt: [{issuer: {url: 'https://a', audiences: [k]}, claimMappings: {username: {claim: sub, prefix: ''}}}]");
    assert!(matches!(file.look(), Err(ConfigurationFileError::Dial { .. })));
    check(&of_a);
    std::fs::write(&path, " ".repeat(FILE_LEN_MAX as usize + 1)).unwrap();
    assert!(matches!(file.look(), Err(ConfigurationFileError::File(LiveFileError::TooLarge(_)))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(file.look(), Err(ConfigurationFileError::File(LiveFileError::Unreadable { .. }))));
    assert_eq!(file.look().unwrap(), Reload::Unchanged, "the same failure is complained about once");
    check(&of_a);

    write("anonymous: {enabled: false}");
    assert_eq!(file.look().unwrap(), Reload::Replaced);
    check(&AnonymousPaths::None);
    write("");
    assert_eq!(file.look().unwrap(), Reload::Replaced);
    check(&AnonymousPaths::default());

    let file = open_with(Some(false)).unwrap();
    check(&AnonymousPaths::None);
    write("anonymous: {enabled: true}");
    assert!(matches!(file.look(), Err(ConfigurationFileError::AnonymousTwice(_))));
    check(&AnonymousPaths::None);
}
