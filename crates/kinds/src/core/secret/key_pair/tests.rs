//! The keys here were made for these tests and are of no use anywhere else.

use super::*;

/// A certificate for a key on a curve.
const EC_CERTIFICATE: &str = "\
MIIBdTCCARugAwIBAgIUenpsoV/VZcofuPrItfiiYv8CMBIwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEcXVheTAgFw0yNjExMjIwNTU1NDVaGA\
8yMTI2MTAyOTA1NTU0NVowDzENMAsGA1UEAwwEcXVheTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNmoA97o5xvt+bRntguCcFeB6aAX94hM\
kfNyqdI0LzmqFoWOC3mjllFu8AKaRGyutPbnkU/QsE1G73TR1yExyqujUzBRMB0GA1UdDgQWBBQrATfM9lBV65uZWtsPfpBsrkID4zAfBgNVHS\
MEGDAWgBQrATfM9lBV65uZWtsPfpBsrkID4zAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIDaMRdUg8gZaoFgqP8xnesxIRnSZ\
BIZxMwyIIj6LEWo7AiEA+8T+gjBssN0NlD0chhGuuxjzv/LX9931jAmTuZDtquw=";
/// Its key, as SEC 1 has it.
const EC_KEY: &str = "\
MHcCAQEEIBlElGn6w9p0QH15JbieY8BpdO6HVLfZPZkc0xJ6kN4soAoGCCqGSM49AwEHoUQDQgAE2agD3ujnG+35tGe2C4JwV4HpoBf3iEyR83\
Kp0jQvOaoWhY4LeaOWUW7wAppEbK609ueRT9CwTUbvdNHXITHKqw==";
/// The same key, as PKCS #8 has it.
const EC_WRAPPED: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGUSUafrD2nRAfXkluJ5jwGl07odUt9k9mRzTEnqQ3iyhRANCAATZqAPe6Ocb7f\
m0Z7YLgnBXgemgF/eITJHzcqnSNC85qhaFjgt5o5ZRbvACmkRsrrT255FP0LBNRu900dchMcqr";
/// Another key on the curve.
const EC_OTHER: &str = "\
MHcCAQEEIJs/SBXQXnaG2w0s0c8VwUdbhi4PtFRiiy0D0uy32FTdoAoGCCqGSM49AwEHoUQDQgAEaYtMdIZI6IEnG9oAS9h8gIQ7zIiHqs84W4\
WXHMi9C1Byxt48Wsit7ZjLUHkQC/wa7Wox9F9Yktcsz3psGR98tA==";
/// A certificate for an RSA key.
const RSA_CERTIFICATE: &str = "\
MIIB/DCCAWWgAwIBAgIUXO5A1EgojRrSuOGr3RFF2QTNKogwDQYJKoZIhvcNAQELBQAwDzENMAsGA1UEAwwEcXVheTAgFw0yNjExMjIwNTU1ND\
VaGA8yMTI2MTAyOTA1NTU0NVowDzENMAsGA1UEAwwEcXVheTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEApJ/gf/MDw1Qs8izs1fg7tiYk\
+1YxYnzpC/0Vgl/sjB0sWl6hSqlgujrzojD4QLVFBh82wX4kZU/CiYixw562nlinugFbQ+1mgDSk7q4OxeuFYGsH5IXJycpy6XhEtez0Q7QIM0\
pzzWzBaNIcTHq7REjtox03bFOiHKNNl/4pDnUCAwEAAaNTMFEwHQYDVR0OBBYEFMVI+Rdzvj8uzMuvx8S6euDf3uaFMB8GA1UdIwQYMBaAFMVI\
+Rdzvj8uzMuvx8S6euDf3uaFMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEAJkdRyl7E7x9cXLzYWdptc1yIf0TOBx3lgByCHu\
bBvFN9VQNI+ygtp8cS5iNXgJoIsxMuL5cgioimku5S5hC2y8vuQyiUdgNWSHsAbPtBuXmW/BOUnwPn8TtmD5Hm/m4zIFo6Tk8w08V+u07ACWX3\
HcqdiXvy2+ZMSloDw9M9MyA=";
/// Its key, as PKCS #1 has it.
const RSA_KEY: &str = "\
MIICXAIBAAKBgQCkn+B/8wPDVCzyLOzV+Du2JiT7VjFifOkL/RWCX+yMHSxaXqFKqWC6OvOiMPhAtUUGHzbBfiRlT8KJiLHDnraeWKe6AVtD7W\
aANKTurg7F64VgawfkhcnJynLpeES17PRDtAgzSnPNbMFo0hxMertESO2jHTdsU6Ico02X/ikOdQIDAQABAoGBAJ6pQ9qtIXRRHVxutffm3c3I\
552gzcnpL0aRrfhQcQ/9UfDrATKPGh2CkatA3RKoYhTrYn+MDpHiFFEvgHxT7BYXDqmKnsIBT5VWY1xvQ0kvDRLmmdduzmru0mxThj65I4DB03\
bWjQ+shQvAB4PvmMFjdFjnOnmhUOS8foLifo5FAkEAzhAF/FUULEKfxuJtrow+0NO3p1mBL4RDmv8sIoZhLJmOtKNitIZ6UUI6N7FjTJH4MTVx\
n7lMSLI3Zm8Y1BNU9wJBAMyFEKdrNY/n6Op1t2QVEQCbmElC3qjDVJyw+tsQlfd8h592Wn9JkOrdrUFZAkWjOEXJe2Pv220aUnXtJIwZ2PMCQD\
eS9LpQC8fAFC1kZeZcZpiVcQOOTRwOlNkZlsKc8VpA887d/cHoPtbpgKAClGBTQderrUBBjkRQ5EYZEl4n9JMCQG2dH9jrL/Dp9b67yse8Nrmh\
qxQQ3++JiS7V+A0zLX1QZAwGTeiM0DvhBbvRbdNO8JkOrLBaXLtz8SA9MmpYbBsCQAZlnSh4Koc+nPlglFsuiGwwl9X+uKh8sitbq4ugiMVr3V\
0dAx7iUvflN/8JuU5U3YVI5ezmsYqYdXnb0I0o2bU=";
/// Another RSA key.
const RSA_OTHER: &str = "\
MIICXgIBAAKBgQC8e9IS26pGBaAt5I6rs2MfzO6ca1pezNUvUNZt9Zk2TXwnlFCErQy4Fb12nOow2k3B1EgF1Glf43BZRAko+ySol1dCfYB7tI\
WmtnRr9zviZHwXwqe0MAlN1SrTjXAylzbQvahnEhyyDUZDK9RBsixzGmYA+8AdMVJCF7Q7g6zqzQIDAQABAoGAAj2KirTXuktY0xLTa1EPjZI3\
B97yzQusQQq58caoko+rOSE3L8yKySlg/ibxVbFSmUo3rPIQapZegIEhhr4telpLJb2+z/zQtayfBuSfr5fmTvhXVk52IXHy9Y1+1E5eMPaP7H\
to3eCWhj7MqbspUEY6KOXGFdhr1OAxuEUMORUCQQDxzlPhFBfeMIvsWCssWkA7gFLKdAqwSB4/pT6l9GwwS7DORzMbtOqaDv9FfZTCAJ4K3ujH\
YC+td8tPTQ7L3apnAkEAx4w0+OoDV+knf0geuurDfNDDHOgxndg4bkhK0FqmIb5Sn+OnM2pQVn5NpvGc5KeUzQClNQmfyvFeyN1T5qQoqwJBAP\
BFZiG0Fpdow9DAN34l28eEFkAnmGtb7fquFxdOTaabv37pTsaMOcWFe3Awff1cIa6JmuJqGFYVQAd3eWlnxKcCQQCUOjgXNm2pXc4zJDV/j2gL\
TV/CF1DT+YthkF3Si6OgqSnjD05iSPTIayXvfsaWq01DQtl1nmKOc+F+v7nVN9flAkEAoKhVWS2AZ977bc8+OTV/DxLTa+sJq4FhC7Hk3ypElg\
+XtWkA7vN/5oCmAYTEbxHx7WJqfIzhHzlKYbNhx2cdKw==";
/// A key of a third kind.
const ED_KEY: &str = "\
MC4CAQAwBQYDK2VwBCIEIGjf46lPckgC0J2WSEmNV+/t+3BNFYPBpMNvzGAlK1D3";

fn pem(label: &str, contents: &str) -> String {
    format!("-----BEGIN {label}-----\n{contents}\n-----END {label}-----\n")
}

fn check(certificate: &str, key: &str, expected: Option<&str>) {
    let found = complaint(certificate.as_bytes(), key.as_bytes());
    assert_eq!(found.as_deref(), expected, "{certificate} {key}");
}

#[test]
fn pairs() {
    let (ec, rsa) = (pem(CERTIFICATE, EC_CERTIFICATE), pem(CERTIFICATE, RSA_CERTIFICATE));
    check(&ec, &pem("EC PRIVATE KEY", EC_KEY), None);
    check(&ec, &pem("PRIVATE KEY", EC_WRAPPED), None);
    check(&rsa, &pem("RSA PRIVATE KEY", RSA_KEY), None);
    check(
        &format!("{}{ec}", pem("OTHER", "eA==")),
        &format!("{}{}", pem("OTHER", "eA=="), pem("PRIVATE KEY", EC_WRAPPED)),
        None,
    );
    let other = Some("tls: private key does not match public key");
    check(&ec, &pem("EC PRIVATE KEY", EC_OTHER), other);
    check(&rsa, &pem("RSA PRIVATE KEY", RSA_OTHER), other);
    let another_type = Some("tls: private key type does not match public key type");
    check(&ec, &pem("RSA PRIVATE KEY", RSA_KEY), another_type);
    check(&rsa, &pem("PRIVATE KEY", ED_KEY), another_type);
}

#[test]
fn what_is_no_pair() {
    let (certificate, key) = (pem(CERTIFICATE, EC_CERTIFICATE), pem("EC PRIVATE KEY", EC_KEY));
    check("", &key, Some("tls: failed to find any PEM data in certificate input"));
    check("x", &key, Some("tls: failed to find any PEM data in certificate input"));
    check(
        &key,
        &key,
        Some(
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        ),
    );
    check(
        &format!("{}{}", pem("A", "eA=="), pem("B", "eA==")),
        &key,
        Some(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [A B]",
        ),
    );
    check(&certificate, "", Some("tls: failed to find any PEM data in key input"));
    check(
        &certificate,
        &certificate,
        Some("tls: found a certificate rather than a key in the PEM for the private key"),
    );
    check(
        &certificate,
        &pem("MY-PRIVATE KEY", EC_KEY),
        Some(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [MY-PRIVATE KEY]",
        ),
    );
    check(&pem(CERTIFICATE, "eA=="), &key, Some("x509: malformed certificate"));
    check(&certificate, &pem("PRIVATE KEY", "eA=="), Some(NO_KEY));
    check(&certificate, &pem("PRIVATE KEY", EC_CERTIFICATE), Some(NO_KEY));
}
