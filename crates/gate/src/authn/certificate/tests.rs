#![allow(clippy::unwrap_used)]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;

use super::*;
use crate::authn::tests::authority::Authority;

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// The moment most tests stand at: 2026-06-01.
const NOW: u64 = 1_780_272_000;
/// 2027-01-01, when the certificates of these tests end.
const END: u64 = 1_798_761_600;

fn params(subject: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn roots(authorities: &[&Authority]) -> ClientRoots {
    let certificates: Vec<_> = authorities.iter().map(|authority| authority.certificate.clone()).collect();
    ClientRoots::new(certificates, Arc::new(aws_lc_rs::default_provider())).unwrap()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[test]
fn a_subject_becomes_an_identity() {
    let ca = Authority::new("ca");
    let roots = roots(&[&ca]);
    let check = |subject: &[(DnType, &str)], expected: Result<(&str, &str, &[&str]), &str>| {
        let leaf = ca.sign(&params(subject));
        let got = prove(&[leaf], &roots, at(NOW)).map(|(identity, _)| identity);
        let got = got.as_ref().map(|identity| {
            let groups: Vec<_> = identity.groups.iter().map(String::as_str).collect();
            (identity.name.as_str(), identity.uid.as_str(), groups)
        });
        assert_eq!(got, expected.as_ref().map(|(name, uid, groups)| (*name, *uid, groups.to_vec())));
    };
    let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
    let custom = |oid: &[u64]| DnType::CustomDnType(oid.to_vec());
    check(&[(cn.clone(), "ana")], Ok(("ana", "", &["system:authenticated"])));
    check(
        &[(o.clone(), "harbor"), (custom(ORGANIZATION), "pier"), (cn.clone(), "ana")],
        Ok(("ana", "", &["harbor", "pier", "system:authenticated"])),
    );
    check(
        &[(o.clone(), "harbor"), (custom(ORGANIZATION), "harbor"), (cn.clone(), "ana")],
        Ok(("ana", "", &["harbor", "system:authenticated"])),
    );
    check(&[(cn.clone(), "ana"), (custom(UID_OID), "7")], Ok(("ana", "7", &["system:authenticated"])));
    check(&[(cn.clone(), "ana"), (custom(UID_OID), "")], Err("uid is empty, or there are several"));
    check(&[(o, "system:masters")], Err("certificate names no user"));
    check(&[(cn.clone(), "")], Err("several common names"));
    check(&[(cn, "ana"), (custom(COMMON_NAME), "kubernetes-admin")], Err("several common names"));
}

#[test]
fn only_a_client_certificate_of_a_trusted_ca_in_its_time_counts() {
    let (ca, other) = (Authority::new("ca"), Authority::new("ca"));
    let roots = roots(&[&ca]);
    let good = || params(&[(DnType::CommonName, "ana")]);
    let refused = "certificate is not vouched for by the client CA";
    let check = |leaf: CertificateDer<'static>, now: u64, expected: Result<(), &str>| {
        assert_eq!(prove(&[leaf], &roots, at(now)).map(|_| ()), expected);
    };
    check(ca.sign(&good()), NOW, Ok(()));
    check(other.sign(&good()), NOW, Err(refused));
    check(good().self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone(), NOW, Err(refused));
    check(ca.sign(&good()), END - 1, Ok(()));
    check(ca.sign(&good()), END + 1, Err(refused));
    check(ca.sign(&good()), 1_700_000_000, Err(refused));
    let mut server = good();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    check(ca.sign(&server), NOW, Err(refused));
    let mut none = good();
    none.extended_key_usages = Vec::new();
    check(ca.sign(&none), NOW, Err("certificate is not for client authentication"));
    let mut authority = good();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    check(ca.sign(&authority), NOW, Err(refused));
    check(CertificateDer::from(vec![0x30, 0x00]), NOW, Err(refused));
    assert_eq!(prove(&[], &roots, at(NOW)).map(|_| ()), Err("no certificate"));
    let many = vec![ca.sign(&good()); CHAIN_LEN_MAX + 1];
    assert_eq!(prove(&many, &roots, at(NOW)).map(|_| ()), Err("too many certificates"));
}

#[test]
fn an_intermediate_of_a_trusted_ca_may_sign() {
    let ca = Authority::new("ca");
    let roots = roots(&[&ca]);
    let mut params_of_intermediate = params(&[(DnType::CommonName, "intermediate")]);
    params_of_intermediate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params_of_intermediate.extended_key_usages = Vec::new();
    let key = KeyPair::generate().unwrap();
    let certificate = params_of_intermediate.signed_by(&key, &ca.issuer).unwrap();
    let intermediate = Authority::with(&certificate, Issuer::new(params_of_intermediate, key));
    let certificate = intermediate.certificate.clone();
    let leaf = intermediate.sign(&params(&[(DnType::CommonName, "ana")]));
    assert!(prove(&[leaf.clone(), certificate], &roots, at(NOW)).is_ok());
    assert!(prove(&[leaf], &roots, at(NOW)).is_err());
}

#[test]
fn the_credential_is_named_by_the_hash_of_the_certificate() {
    let ca = Authority::new("ca");
    let leaf = ca.sign(&params(&[(DnType::CommonName, "ana")]));
    let (identity, _) = prove(std::slice::from_ref(&leaf), &roots(&[&ca]), at(NOW)).unwrap();
    let expected = format!("X509SHA256={}", Hex(digest::digest(&digest::SHA256, &leaf).as_ref()));
    assert_eq!(identity.extra[EXTRA_CREDENTIAL_ID], std::slice::from_ref(&expected));
    assert_eq!(expected.len(), "X509SHA256=".len() + 64);
    assert_eq!(Hex(&[0x00, 0xa5, 0xff]).to_string(), "00a5ff");
}

#[test]
fn a_verdict_stands_until_its_time_or_its_ca_is_over() {
    let (ca, next) = (Authority::new("ca"), Authority::new("next"));
    let trust: ClientTrust = Arc::new(ArcSwap::from_pointee(roots(&[&ca])));
    let leaf = ca.sign(&params(&[(DnType::CommonName, "ana")]));
    let verdict = judge(std::slice::from_ref(&leaf), trust.load_full(), at(END - 10));
    assert_eq!(verdict.stands_until.as_secs(), END + 1);
    let certificate = PeerCertificate {
        not_after: 0,
        chain: vec![leaf],
        trust: Arc::clone(&trust),
        verdict: ArcSwap::from_pointee(verdict),
        front_proxy: ArcSwapOption::empty(),
    };
    assert!(certificate.identity(at(END)).is_ok());
    assert!(certificate.identity(at(END + 1)).is_err());
    assert!(certificate.identity(at(NOW)).is_err(), "a verdict stands for a minute from its own time on");
    trust.store(Arc::new(roots(&[&ca])));
    assert!(certificate.identity(at(NOW)).is_ok());
    trust.store(Arc::new(roots(&[&next])));
    assert!(certificate.identity(at(NOW)).is_err());
    trust.store(Arc::new(roots(&[&next, &ca])));
    assert!(certificate.identity(at(NOW)).is_ok());
}

#[test]
fn a_ca_vouches_for_nobody_outside_its_time() {
    let short = |name: &str| {
        let mut short = params(&[(DnType::CommonName, name)]);
        (short.not_before, short.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        Authority::of(short)
    };
    // Two of one name, as when a CA is renewed with another key.
    let (ends, stays) = (short("ca"), Authority::new("ca"));
    let mut long = params(&[(DnType::CommonName, "ana")]);
    (long.not_before, long.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
    let check = |by: &Authority, trusted: &[&Authority], now: u64, expected: bool| {
        let proved = prove(&[by.sign(&long)], &roots(trusted), at(now));
        assert_eq!(proved.is_ok(), expected, "{now}");
    };
    check(&ends, &[&ends, &stays], NOW, true);
    check(&ends, &[&ends, &stays], END, true);
    check(&ends, &[&ends, &stays], END + 1, false);
    check(&ends, &[&ends], 1_700_000_000, false);
    check(&stays, &[&ends, &stays], END + 1, true);
    check(&stays, &[&ends], NOW, false);
    let (_, until) = prove(&[ends.sign(&long)], &roots(&[&ends]), at(NOW)).unwrap();
    assert_eq!(until, END + 1, "a verdict ends with the CA");
    // The same CAs follow the time.
    let both = roots(&[&ends, &stays]);
    let leaves = [&ends, &stays].map(|by| by.sign(&long));
    for (now, expected) in [(NOW, [true, true]), (END + 1, [false, true]), (NOW, [true, true])] {
        let proved = leaves.clone().map(|leaf| prove(&[leaf], &both, at(now)).is_ok());
        assert_eq!(proved, expected, "{now}");
    }
}
