//! Certificate files, made afresh by openssl.

use std::process::Command;

use camino::Utf8PathBuf;

pub(crate) struct Files(tempfile::TempDir);

const PASS: &str = "pass:Abcd1234!";

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        if name.is_empty() {
            return Utf8PathBuf::new();
        }
        Utf8PathBuf::from_path_buf(self.0.path().join(name)).expect("UTF-8")
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs_err::write(self.path(name), content).expect("written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).expect("read")
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("PEM is text")
    }

    fn concat(&self, name: &str, parts: &[&str]) {
        let content: Vec<u8> = parts.iter().flat_map(|part| self.read(part)).collect();
        self.write(name, &content);
    }

    /// Runs openssl in the folder.
    #[track_caller]
    fn openssl(&self, line: &str) {
        let arguments: Vec<&str> = line
            .split(' ')
            .map(|word| if word == "PASS" { PASS } else { word })
            .collect();
        let output = Command::new("openssl")
            .current_dir(self.0.path())
            .args(&arguments)
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "openssl {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Every file that the tests name.
    pub(crate) fn with_identities() -> Self {
        let files = Self::new();
        files.make_identities();
        files.make_keys();
        files.make_certificates();
        files.make_authorities();
        files.make_bundles();
        files
    }

    fn make_identities(&self) {
        let kinds = [
            ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
            ("other", "RSA -pkeyopt rsa_keygen_bits:2048"),
            ("ec", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
            ("p521", "EC -pkeyopt ec_paramgen_curve:P-521"),
            ("ed", "ED25519"),
            ("root", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("between", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("leaf", "EC -pkeyopt ec_paramgen_curve:P-256"),
        ];
        for (name, kind) in kinds {
            self.openssl(&format!("genpkey -algorithm {kind} -out {name}.key"));
        }
        for name in ["rsa", "ec", "p384", "p521", "ed", "root"] {
            self.openssl(&format!(
                "req -x509 -key {name}.key -subj /CN={name} -days 10 -out {name}.crt"
            ));
        }
        self.write(
            "between.ext",
            b"basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
        );
        self.write("leaf.ext", b"basicConstraints=CA:FALSE\n");
        for (name, issuer) in [("between", "root"), ("leaf", "between")] {
            self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
            self.openssl(&format!(
                "x509 -req -in {name}.csr -CA {issuer}.crt -CAkey {issuer}.key -CAcreateserial -extfile {name}.ext -days 5 -out {name}.crt"
            ));
        }
    }

    fn make_keys(&self) {
        self.openssl("rsa -in rsa.key -traditional -out rsa_pkcs1.key");
        self.openssl("rsa -in rsa.key -traditional -outform DER -out rsa_pkcs1.der");
        self.openssl("pkcs8 -topk8 -nocrypt -in rsa.key -outform DER -out rsa.der");
        self.openssl("ec -in ec.key -out ec_sec1.key");
        self.openssl("ec -in ec.key -no_public -out ec_no_point.key");
        self.openssl("ecparam -name prime256v1 -out params.pem");
        self.concat("ec_params.key", &["params.pem", "ec_sec1.key"]);
        self.write("rsa_crlf.key", self.text("rsa.key").replace('\n', "\r\n").as_bytes());
        self.concat("two.key", &["rsa.key", "other.key"]);
        self.concat("two_reversed.key", &["other.key", "rsa.key"]);
        self.openssl("pkey -in rsa.key -pubout -out public.key");
        for (name, options) in [
            ("k8_aes256.key", "-v2 aes-256-cbc -v2prf hmacWithSHA256"),
            ("k8_aes192.key", "-v2 aes-192-cbc"),
            ("k8_aes128.key", "-v2 aes-128-cbc"),
            ("k8_3des.key", "-v2 des3"),
            ("k8_sha1.key", "-v2 aes-256-cbc -v2prf hmacWithSHA1"),
            ("k8_sha512.key", "-v2 aes-256-cbc -v2prf hmacWithSHA512"),
            ("k8_scrypt.key", "-scrypt"),
            ("k8_pbe_3des.key", "-v1 PBE-SHA1-3DES"),
            ("k8_aes256.der", "-v2 aes-256-cbc -outform DER"),
        ] {
            self.openssl(&format!("pkcs8 -topk8 -in rsa.key -passout PASS {options} -out {name}"));
        }
        for kind in ["ec", "ed", "p521"] {
            self.openssl(&format!(
                "pkcs8 -topk8 -in {kind}.key -passout PASS -v2 aes-256-cbc -out k8_{kind}.key"
            ));
        }
        for (name, cipher) in [
            ("kl_aes128.key", "-aes128"),
            ("kl_aes192.key", "-aes192"),
            ("kl_aes256.key", "-aes256"),
            ("kl_3des.key", "-des3"),
        ] {
            self.openssl(&format!(
                "rsa -in rsa.key -traditional {cipher} -passout PASS -out {name}"
            ));
        }
        self.openssl("ec -in ec.key -aes256 -passout PASS -out kl_ec.key");
        self.write(
            "kl_des.key",
            self.text("kl_3des.key").replace("DES-EDE3-CBC", "DES-CBC").as_bytes(),
        );
        let spaced = [
            "pkcs8",
            "-topk8",
            "-in",
            "rsa.key",
            "-passout",
            "pass: Abcd1234! ",
            "-v2",
            "aes-256-cbc",
            "-out",
            "k8_space.key",
        ];
        let status = Command::new("openssl")
            .current_dir(self.0.path())
            .args(spaced)
            .status()
            .expect("openssl is installed");
        assert!(status.success());
    }

    fn make_certificates(&self) {
        let plain = self.text("rsa.crt");
        self.openssl("x509 -in rsa.crt -text -out text.crt");
        self.openssl("x509 -in rsa.crt -outform DER -out rsa.der.crt");
        self.openssl("x509 -in rsa.crt -trustout -out trusted.crt");
        self.write("crlf.crt", plain.replace('\n', "\r\n").as_bytes());
        self.write("bom.crt", format!("\u{feff}{plain}").as_bytes());
        self.write(
            "indented.crt",
            plain
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect::<Vec<_>>()
                .concat()
                .as_bytes(),
        );
        self.write("trailing.crt", plain.replace('\n', "  \n").as_bytes());
        self.write("no_end_of_line.crt", plain.trim_end().as_bytes());
        let body: String = plain.lines().filter(|line| !line.starts_with('-')).collect();
        self.write(
            "one_line.crt",
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").as_bytes(),
        );
        self.write(
            "header.crt",
            plain
                .replacen("CERTIFICATE-----\n", "CERTIFICATE-----\nComment: x\n\n", 1)
                .as_bytes(),
        );
        self.write("truncated.crt", &plain.as_bytes()[..600]);
        self.concat("combo.pem", &["rsa.key", "rsa.crt"]);
        self.concat("combo_reversed.pem", &["rsa.crt", "rsa.key"]);
        self.concat("combo_encrypted.pem", &["rsa.crt", "k8_aes256.key"]);
        self.concat("chain.crt", &["leaf.crt", "between.crt", "root.crt"]);
        self.concat("chain_shuffled.crt", &["leaf.crt", "root.crt", "between.crt"]);
        self.concat("chain_reversed.crt", &["between.crt", "leaf.crt"]);
        self.write("empty.pem", b"");
        self.write("garbage.pem", b"hello world\n");
    }

    fn make_authorities(&self) {
        let root = self.text("root.crt");
        self.openssl("x509 -in root.crt -text -out ca_text.crt");
        self.openssl("x509 -in root.crt -outform DER -out ca.der");
        self.openssl("x509 -in root.crt -trustout -out ca_trusted.crt");
        self.openssl("crl2pkcs7 -nocrl -certfile root.crt -out ca.p7b");
        self.write(
            "ca_x509.crt",
            root.replace(" CERTIFICATE", " X509 CERTIFICATE").as_bytes(),
        );
        self.write(
            "ca_indented.crt",
            root.lines()
                .map(|line| format!("    {line}\n"))
                .collect::<Vec<_>>()
                .concat()
                .as_bytes(),
        );
        self.write(
            "ca_header.crt",
            root.replacen("CERTIFICATE-----\n", "CERTIFICATE-----\nComment: x\n\n", 1)
                .as_bytes(),
        );
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        self.write("ca_bad_first.crt", format!("{bad}{root}").as_bytes());
        self.concat("ca_with_key.pem", &["root.key", "root.crt"]);
        self.concat("ca_two.crt", &["root.crt", "rsa.crt"]);
        self.write(
            "ca_bom_two.crt",
            format!("\u{feff}{root}{}", self.text("rsa.crt")).as_bytes(),
        );
    }

    fn make_bundles(&self) {
        self.concat("issuers.crt", &["between.crt", "root.crt"]);
        let export = "pkcs12 -export -in leaf.crt -inkey leaf.key -certfile issuers.crt";
        self.openssl(&format!("{export} -passout PASS -out bundle.p12"));
        self.openssl(&format!("{export} -passout PASS -legacy -out legacy.p12"));
        self.openssl(&format!(
            "{export} -passout PASS -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -out 3des.p12"
        ));
        for (scheme, name) in [("RC2-128", "rc2_128.p12"), ("2DES", "two_key_3des.p12")] {
            self.openssl(&format!(
                "{export} -passout PASS -legacy -keypbe PBE-SHA1-{scheme} -certpbe PBE-SHA1-{scheme} -macalg sha1 -out {name}"
            ));
        }
        self.openssl(&format!(
            "{export} -passout PASS -legacy -keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-40 -nomac -out rc2_no_mac.p12"
        ));
        self.openssl(&format!("{export} -passout pass: -out blank.p12"));
        self.openssl("pkcs12 -export -in rsa.crt -inkey rsa.key -passout PASS -out rsa.p12");
        self.openssl("pkcs12 -in rsa.p12 -clcerts -nokeys -passin PASS -out bag.crt");
        self.openssl("pkcs12 -in rsa.p12 -nocerts -nodes -passin PASS -out rsa_bag.key");
    }
}

/// Runs a program that must succeed; its standard output.
#[track_caller]
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[track_caller]
pub(crate) fn openssl(arguments: &[&str]) -> String {
    output_of("openssl", arguments)
}

/// Whether Java's tools are there; says so aloud when they are not.
#[expect(clippy::print_stderr, reason = "what is skipped is told aloud")]
pub(crate) fn has_keytool() -> bool {
    let found = Command::new("keytool").arg("-help").output().is_ok();
    if !found {
        eprintln!("SKIPPED: keytool (a part of every JDK) is not installed, so bundles of Java are not read");
    }
    found
}
