//! The texts that explain the tool.

use std::fmt::Write;

use crate::arguments::{Arity, FLAGS, Flag, Mode};

/// What `--help` shows.
pub(crate) fn text(mode: Option<Mode>) -> String {
    let mut text = match mode {
        Some(mode) => format!("{}\n\nFlags:\n", introduction(mode)),
        None => overview(),
    };
    let of_mode = |flag: &&Flag| match mode {
        Some(mode) => flag.modes.contains(&mode) && !flag.help.is_empty(),
        None => flag.short.is_some(),
    };
    for flag in FLAGS.iter().filter(of_mode) {
        // Writing to a text cannot fail.
        writeln!(text, "  {:<26} {}", synopsis(flag), flag.help).expect("memory");
    }
    text.trim_end().to_owned()
}

fn overview() -> String {
    let modes = [
        ("ca", "make a certificate authority"),
        ("cert", "make certificates and keys, signed by a CA or by themselves"),
        ("csr", "make keys and certificate requests for another CA"),
        ("http", "make all that HTTPS of Elasticsearch needs, in a dialogue"),
    ];
    let lines: String = modes
        .iter()
        .flat_map(|(name, what)| ["  ", name, "  ", what, "\n"])
        .collect();
    format!("Makes certificates for the Elastic Stack and for Flotilla.\n\nModes:\n{lines}\nFlags of every mode:\n")
}

fn synopsis(flag: &Flag) -> String {
    let short = flag
        .short
        .filter(|_| flag.name.len() > 1)
        .map(|short| format!("-{short}, "))
        .unwrap_or_default();
    let dashes = if flag.name.len() > 1 { "--" } else { "-" };
    match flag.arity {
        Arity::Switch => format!("{short}{dashes}{}", flag.name),
        Arity::Required(value) => format!("{short}{dashes}{} <{value}>", flag.name),
        Arity::Optional(value) => format!("{short}{dashes}{} [<{value}>]", flag.name),
    }
}

/// What a mode says about itself before it begins.
pub(crate) fn introduction(mode: Mode) -> &'static str {
    match mode {
        Mode::Ca => {
            "Makes a certificate authority: a certificate and the key that signs in `cert` mode.\n\
             The result is one PKCS#12 file, or with --pem a zip with ca/ca.crt and ca/ca.key."
        }
        Mode::Cert => {
            "Makes certificates and their keys, for one instance (--name, --dns, --ip), for several\n\
             (--multiple asks, --in reads a YAML file).\n\
             They are signed by the CA of --ca or --ca-cert and --ca-key, or with --self-signed by themselves.\n\
             The result is one PKCS#12 file; with --pem, --multiple or --in it is a zip with a folder for each instance."
        }
        Mode::Csr => {
            "Makes keys and certificate requests (PKCS#10) that a CA of yours can sign.\n\
             The result is a zip with a folder for each instance."
        }
        Mode::Http => {
            "Makes the certificate, or the request for one, that HTTPS on Elasticsearch needs, and files for its clients.\n\
             Some questions follow; an empty answer takes what stands in brackets."
        }
    }
}
