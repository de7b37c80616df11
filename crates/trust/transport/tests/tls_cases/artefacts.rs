//! Certificates, keys and files of the page, made fresh with OpenSSL's program.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};

use super::table::rows;

/// The folder of everything that the page names.
pub(crate) struct Artefacts {
    _folder: tempfile::TempDir,
    pub(crate) path: Utf8PathBuf,
    /// Placeholders that were worked out already.
    known: Mutex<BTreeMap<String, String>>,
}

impl Artefacts {
    /// Of several pages; later ones build on what the first ones made.
    pub(crate) fn make(pages: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let made = Self {
            _folder: folder,
            path,
            known: Mutex::default(),
        };
        made.keys(pages);
        for page in pages {
            for row in rows(page, "\n## Certificates") {
                made.certificate(&row);
            }
            for row in rows(page, "\n## Other files") {
                made.file(row[0], row[1]);
            }
        }
        made
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path.join(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs_err::write(self.path.join(name), bytes).unwrap();
    }

    /// Keys first and side by side: they take most of the time.
    fn keys(&self, pages: &[&str]) {
        let rows = pages.iter().flat_map(|page| rows(page, "\n## Certificates"));
        let wanted = Mutex::new(rows.map(|row| (row[0], row[3])).collect::<Vec<_>>());
        let one = || wanted.lock().unwrap().pop();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((id, kind)) = one() {
                        self.key(id, kind);
                    }
                });
            }
        });
    }

    fn key(&self, id: &str, kind: &str) {
        let out = format!("{id}.key");
        let bits;
        let algorithm: Vec<&str> = if let Some(size) = kind.strip_prefix("rsa") {
            bits = format!("rsa_keygen_bits:{size}");
            vec!["RSA", "-pkeyopt", &bits]
        } else if kind == "ed25519" {
            vec!["ED25519"]
        } else {
            bits = format!("ec_paramgen_curve:P-{}", kind.trim_start_matches('p'));
            vec!["EC", "-pkeyopt", &bits]
        };
        self.openssl(&[&["genpkey", "-algorithm"], &algorithm[..], &["-out", &out]].concat());
    }

    fn certificate(&self, row: &[&str]) {
        let [id, subject, issuer, _, extensions, validity, digest] = row else {
            panic!("{row:?}")
        };
        let (key, request, out) = (format!("{id}.key"), format!("{id}.csr"), format!("{id}.crt"));
        self.openssl(&[
            "req",
            "-new",
            "-key",
            &key,
            "-subj",
            &format!("/{subject}"),
            "-out",
            &request,
        ]);
        let lines: Vec<&str> = extensions.split('`').skip(1).step_by(2).collect();
        if lines.is_empty() {
            self.version_1(&request, &out, if *issuer == "self" { id } else { issuer });
            return;
        }
        let (extension_file, settings, database) = (format!("{id}.ext"), format!("{id}.cnf"), format!("{id}.index"));
        self.write(&extension_file, lines.join("\n"));
        self.write(&database, "");
        self.write(
            &settings,
            format!(
                "[ca]\ndefault_ca=x\n[x]\ndatabase={database}\nserial={id}.serial\nnew_certs_dir=.\nunique_subject=no\ncopy_extensions=none\n\
                 default_md=default\npolicy=any\n[any]\ncommonName=optional\norganizationName=optional\n"
            ),
        );
        let (from, until) = validity.split_once("..").unwrap();
        let (from, until) = (moment(from), moment(until));
        let mut arguments = vec![
            "ca",
            "-batch",
            "-notext",
            "-preserveDN",
            "-rand_serial",
            "-config",
            &settings,
        ];
        arguments.extend([
            "-in",
            &request,
            "-out",
            &out,
            "-startdate",
            &from,
            "-enddate",
            &until,
            "-extfile",
            &extension_file,
        ]);
        let (issuer_key, issuer_certificate) = (format!("{issuer}.key"), format!("{issuer}.crt"));
        if *issuer == "self" {
            arguments.extend(["-selfsign", "-keyfile", &key]);
        } else {
            arguments.extend(["-cert", &issuer_certificate, "-keyfile", &issuer_key]);
        }
        let signer = if *issuer == "self" { &key } else { &issuer_key };
        if !self.text(signer).len().lt(&200) {
            // An Ed25519 key is the only one this short; it takes no digest.
            arguments.extend(["-md", digest]);
        }
        self.openssl(&arguments);
    }

    /// A certificate without extensions, which OpenSSL makes of version 1.
    fn version_1(&self, request: &str, out: &str, issuer: &str) {
        let key = format!("{issuer}.key");
        let mut arguments = vec!["x509", "-req", "-days", "3650", "-in", request, "-out", out];
        let certificate = format!("{issuer}.crt");
        if certificate == out {
            arguments.extend(["-signkey", &key]);
        } else {
            arguments.extend(["-CA", &certificate, "-CAkey", &key, "-CAcreateserial"]);
        }
        self.openssl(&arguments);
        let text = self.openssl(&["x509", "-in", out, "-noout", "-text"]);
        assert!(String::from_utf8_lossy(&text).contains("Version: 1"), "{out}");
    }

    /// Follows the words of the column "made by".
    fn file(&self, name: &str, made_by: &str) {
        let name = name.trim_matches('`');
        if let Some(command) = made_by.strip_prefix("`openssl ") {
            let mut words = split_words(command.trim_end_matches('`'));
            words.extend(["-out".to_owned(), name.to_owned()]);
            self.openssl(&words.iter().map(String::as_str).collect::<Vec<_>>());
            return;
        }
        let bytes = if let Some(parts) = made_by.strip_prefix("concat: ") {
            parts.split(", ").flat_map(|part| self.part(part)).collect()
        } else if let Some(literal) = made_by.strip_prefix("bytes ") {
            unescape(literal.trim_matches('`').trim_matches('"'))
        } else if let Some(source) = made_by.strip_prefix("copy of ") {
            self.bytes(source)
        } else {
            let (source, change) = made_by.split_once(", ").unwrap();
            changed(&self.text(source), change)
        };
        self.write(name, bytes);
    }

    fn part(&self, part: &str) -> Vec<u8> {
        if let Some(literal) = part.strip_prefix("`\"") {
            return unescape(literal.trim_end_matches("\"`"));
        }
        match part.strip_prefix("output of `openssl ") {
            Some(command) => {
                let words = split_words(command.trim_end_matches('`'));
                self.openssl(&words.iter().map(String::as_str).collect::<Vec<_>>())
            }
            None => self.bytes(part),
        }
    }

    /// Runs OpenSSL in the folder and returns what it prints.
    fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
        output.stdout
    }

    /// Replaces `${PEM:..}`, `${FP:..}` and their like in the JSON text of a block.
    pub(crate) fn fill(&self, block: &str) -> String {
        let mut filled = String::new();
        let mut rest = block;
        while let Some((before, after)) = rest.split_once("${") {
            let (placeholder, after) = after.split_once('}').unwrap();
            filled.push_str(before);
            let value = self.value(placeholder);
            filled.push_str(serde_json::to_string(&value).unwrap().trim_matches('"'));
            rest = after;
        }
        filled + rest
    }

    /// One at a time: some take a file on the way.
    fn value(&self, placeholder: &str) -> String {
        let mut known = self.known.lock().unwrap();
        known
            .entry(placeholder.to_owned())
            .or_insert_with(|| self.placeholder(placeholder))
            .clone()
    }

    fn placeholder(&self, placeholder: &str) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        if placeholder == "CERTS" {
            return self.path.to_string();
        }
        let (kind, of) = placeholder.split_once(':').unwrap();
        let digest = |name: &str, what: &[&str]| {
            let certificate = format!("{of}.crt");
            let der = self.openssl(&[&["x509", "-in", &certificate], what].concat());
            self.write("digest.in", der);
            self.openssl(&["dgst", &format!("-{name}"), "-binary", "digest.in"])
        };
        let of_certificate = |name: &str| digest(name, &["-outform", "DER"]);
        let of_key = || {
            let public = self.openssl(&["x509", "-in", &format!("{of}.crt"), "-noout", "-pubkey"]);
            self.write("public.pem", public);
            let der = self.openssl(&["pkey", "-pubin", "-in", "public.pem", "-outform", "DER"]);
            self.write("digest.in", der);
            self.openssl(&["dgst", "-sha256", "-binary", "digest.in"])
        };
        match kind {
            "PEM" => self.text(of),
            "PEM_ESCAPED" => self.text(of).replace('\n', "\\n"),
            "PEM_BODY" => self
                .text(of)
                .lines()
                .filter(|line| !line.starts_with("-----"))
                .collect(),
            "FP" => hex::encode(of_certificate("sha256")),
            "FP_UPPER" => hex::encode(of_certificate("sha256")).to_uppercase(),
            "FP_COLON" => {
                let pairs: Vec<String> = of_certificate("sha256")
                    .iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect();
                pairs.join(":")
            }
            "FP_HALF" => hex::encode(of_certificate("sha256"))[..32].to_owned(),
            "SHA1" => hex::encode(of_certificate("sha1")),
            "PIN" => STANDARD.encode(of_key()),
            "PINHEX" => hex::encode(of_key()),
            "CERTPIN" => STANDARD.encode(of_certificate("sha256")),
            other => panic!("unknown placeholder {other}"),
        }
    }
}

fn changed(text: &str, change: &str) -> Vec<u8> {
    let each_line = |f: &dyn Fn(&str) -> String| text.lines().map(f).collect::<String>();
    let changed = if change.contains("replaced by CRLF") {
        text.replace('\n', "\r\n")
    } else if change.contains("4 spaces put before") {
        each_line(&|line| format!("    {line}\n"))
    } else if change.contains("2 spaces added at the end") {
        each_line(&|line| format!("{line}  \n"))
    } else if change.contains("joined to one line") {
        let body: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let armour: Vec<&str> = text.lines().filter(|line| line.starts_with("-----")).collect();
        format!("{}\n{}\n{}\n", armour[0], body.concat(), armour[1])
    } else if change.contains("final LF removed") {
        text.trim_end_matches('\n').to_owned()
    } else if change.contains("X509 CERTIFICATE") {
        text.replace(" CERTIFICATE-", " X509 CERTIFICATE-")
    } else if change.contains("first 600 bytes") {
        text[..600].to_owned()
    } else if change.contains("after the BEGIN line") {
        text.replacen("-----\n", "-----\nComment: x\n\n", 1)
    } else {
        panic!("unknown change: {change}")
    };
    changed.into_bytes()
}

/// `2025-01-01` as OpenSSL takes it.
fn moment(day: &str) -> String {
    format!("{}000000Z", day.replace('-', ""))
}

/// Splits at blanks outside single quotes.
fn split_words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `\n`, `\r` and `\xef`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, c == '\\') {
            (_, true) => match characters.next() {
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('x') => {
                    let digits: String = characters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => panic!("unknown escape {other:?}"),
            },
            (c, false) => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

/// The peers' first certificate and the ones after it, and the key of the first.
pub(crate) fn sent(artefacts: &Artefacts, names: &[String]) -> BTreeMap<&'static str, String> {
    let certificates: String = names.iter().map(|name| artefacts.text(name)).collect();
    let end = "-----END CERTIFICATE-----\n";
    let (first, rest) = certificates.split_once(end).unwrap();
    // The key is known by the certificate it stands beside.
    let leaf = format!("{first}{end}");
    let id = fs_err::read_dir(&artefacts.path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "crt") && path.with_extension("csr").exists())
        .find(|path| fs_err::read_to_string(path).unwrap() == leaf)
        .unwrap();
    let key = id.with_extension("key").to_str().unwrap().to_owned();
    BTreeMap::from([("leaf", leaf), ("rest", rest.to_owned()), ("key", key)])
}
