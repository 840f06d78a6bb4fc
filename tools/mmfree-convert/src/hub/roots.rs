//! The certificate authorities that are trusted: those of the environment, or of the system.

use std::fs;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::text::clip;

/// Where systems have all of theirs in one file: Debian and its kin, Fedora and its kin before and
/// after, openSUSE, Alpine and macOS, FreeBSD.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Variables that name a file of certificates, or a folder, in place of the system's; the first that
/// is set counts.
const FILES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// The same, for folders.
const FOLDERS: &str = "SSL_CERT_DIR";

/// The authorities that the environment names; else those of the system; else, on a system that has
/// none, Mozilla's, which are compiled in.
///
/// # Errors
/// A variable that names no certificates.
pub fn trusted(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<RootCerts, String> {
    trusted_of(variable, &BUNDLES.map(Path::new))
}

fn trusted_of(
    variable: impl Fn(&str) -> Option<PathBuf>,
    bundles: &[&Path],
) -> Result<RootCerts, String> {
    let file = FILES.iter().find_map(|name| Some((*name, vec![variable(name)?])));
    let folders = variable(FOLDERS).map(|list| (FOLDERS, std::env::split_paths(&list).collect()));
    let mut own = Vec::new();
    for (name, paths) in file.into_iter().chain(folders) {
        let found = certificates(&paths);
        let found =
            found.and_then(
                |all| if all.is_empty() { Err("has no certificate".into()) } else { Ok(all) },
            );
        own.extend(found.map_err(|reason| {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            format!("{name} is {}, which {reason}", clip(&paths.join(":")))
        })?);
    }
    if !own.is_empty() {
        return Ok(own.into());
    }
    let system = bundles.iter().filter_map(|path| certificates(&[path]).ok());
    let system = system.into_iter().find(|certificates| !certificates.is_empty());
    Ok(system.map_or(RootCerts::WebPki, RootCerts::from))
}

/// The certificates in files, or in the files of folders, in PEM.
fn certificates(paths: &[impl AsRef<Path>]) -> Result<Vec<Certificate<'static>>, String> {
    let cannot =
        |error: std::io::Error| format!("cannot be read: {}", mmfree::error::IoReason(&error));
    let mut certificates = Vec::new();
    for path in paths {
        if path.as_ref().is_dir() {
            for entry in fs::read_dir(path).map_err(cannot)? {
                // A folder has other things too, and links that lead nowhere.
                let bytes = entry.and_then(|entry| fs::read(entry.path()));
                certificates.extend(bytes.iter().flat_map(|bytes| in_pem(bytes)));
            }
        } else {
            certificates.extend(in_pem(&fs::read(path).map_err(cannot)?));
        }
    }
    Ok(certificates)
}

fn in_pem(bytes: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(bytes).filter_map(certificate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/authority.pem");

    fn count(set: &[(&str, &Path)], bundles: &[&Path]) -> Result<usize, String> {
        let find = |name: &str| {
            set.iter().find(|(key, _)| *key == name).map(|(_, path)| path.to_path_buf())
        };
        trusted_of(find, bundles).map(|roots| match roots {
            RootCerts::Specific(certificates) => certificates.len(),
            _ => 0,
        })
    }

    #[test]
    fn the_environment_comes_before_the_system_and_that_before_what_is_compiled_in() {
        let dir = tempfile::tempdir().unwrap();
        let (two, none) = (dir.path().join("two.pem"), dir.path().join("none.pem"));
        let own = Path::new(OWN);
        fs::write(&two, fs::read(own).unwrap().repeat(2)).unwrap();
        fs::write(&none, "no certificate").unwrap();
        let absent = dir.path().join("absent");
        assert_eq!(count(&[], &[]), Ok(0));
        assert_eq!(count(&[], &[&absent, &none, &two]), Ok(2));
        assert_eq!(count(&[("SSL_CERT_FILE", own)], &[&two]), Ok(1));
        assert_eq!(count(&[("REQUESTS_CA_BUNDLE", own), ("SSL_CERT_FILE", &two)], &[]), Ok(2));
        assert_eq!(count(&[("SSL_CERT_DIR", dir.path())], &[]), Ok(2));
        assert_eq!(count(&[("SSL_CERT_FILE", own), ("SSL_CERT_DIR", dir.path())], &[]), Ok(3));
        for (path, part) in
            [(&none, "has no certificate"), (&absent, "cannot be read: No such file")]
        {
            let error = count(&[("SSL_CERT_FILE", path)], &[&two]).unwrap_err();
            assert!(error.contains("SSL_CERT_FILE is ") && error.contains(part), "{error}");
        }
    }
}
