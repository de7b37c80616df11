//! The archive of the dialogue: keys and certificates, and texts that say where each file belongs.

use certs::{P12Identity, write_p12};
use jiff::Timestamp;
use pki::{Authority, Csr, CsrRequest, KeyType, LeafRequest, SigningKey, Usages};
use secret::Secret;

use super::{Node, Plan, Source};
use crate::archive::{Access, Archive};
use crate::failure::Failure;
use crate::issue::{PemKeys, on_all_cores};
use crate::terminal::Terminal;

/// The files of one node, in their order.
type NodeFiles = Vec<(String, Vec<u8>, Access)>;

/// Makes all keys and certificates, and the archive.
pub(super) fn archive(plan: &Plan, now: Timestamp, terminal: &mut dyn Terminal) -> Result<Vec<u8>, Failure> {
    let made = on_all_cores(&plan.nodes, terminal, |node| node_files(plan, node, now))?;
    let mut archive = Archive::new(now);
    archive.folder("elasticsearch")?;
    for (node, files) in plan.nodes.iter().zip(made) {
        let folder = if plan.per_node {
            format!("elasticsearch/{}", node.options.name)
        } else {
            "elasticsearch".to_owned()
        };
        if plan.per_node {
            archive.folder(&folder)?;
        }
        for (name, content, access) in files {
            archive.file(&format!("{folder}/{name}"), &content, access)?;
        }
    }
    if let Source::Authority {
        authority,
        generated: Some(password),
        ..
    } = &plan.source
    {
        archive.folder("ca")?;
        archive.file(
            "ca/README.txt",
            ca_readme(!password.is_empty()).as_bytes(),
            Access::Everyone,
        )?;
        archive.file("ca/ca.p12", &authority_bundle(authority, password, now)?, Access::Owner)?;
    }
    kibana_files(plan, &mut archive)?;
    archive.finish()
}

fn node_files(plan: &Plan, node: &Node, now: Timestamp) -> Result<NodeFiles, Failure> {
    match &plan.source {
        Source::Request => request_files(plan, node),
        Source::Authority { authority, period, .. } => {
            let request = LeafRequest {
                dn: Some(node.options.dn.clone()),
                dns: node.dns.clone(),
                ips: node.ips.clone(),
                key_type: KeyType::Rsa(node.options.bits),
                days: period.days_from(now),
                usages: Usages::Server,
                key_usages: node.options.key_usages.clone(),
                ..LeafRequest::default()
            };
            let identity = authority.issue(request)?;
            let entry = P12Identity {
                alias: "http",
                key: &identity.key,
                chain: &identity.chain[..1],
                created: now,
            };
            let bundle = write_p12(Some(&entry), &[("ca", authority.certificate())], &plan.password)?;
            let (readme, sample) = (bundle_readme(plan.has_password()), bundle_sample(plan.has_password()));
            Ok(vec![
                ("README.txt".to_owned(), readme.into_bytes(), Access::Everyone),
                ("http.p12".to_owned(), bundle, Access::Owner),
                (
                    "sample-elasticsearch.yml".to_owned(),
                    sample.into_bytes(),
                    Access::Everyone,
                ),
            ])
        }
    }
}

fn request_files(plan: &Plan, node: &Node) -> Result<NodeFiles, Failure> {
    let key = SigningKey::generate(KeyType::Rsa(node.options.bits))?;
    let request = CsrRequest {
        dn: node.options.dn.clone(),
        dns: node.dns.clone(),
        ips: node.ips.clone(),
        other_names: Vec::new(),
        key_usages: node.options.key_usages.clone(),
        usages: Usages::Server,
    };
    let csr = Csr::build(&request, &key)?;
    let password = plan.has_password().then_some(&plan.password);
    let pem = PemKeys::Traditional.write(&key.to_key(), password)?;
    let base = format!("http-{}", node.options.name);
    let (readme, sample) = (request_readme(&base), request_sample(&base, plan.has_password()));
    Ok(vec![
        ("README.txt".to_owned(), readme.into_bytes(), Access::Everyone),
        (format!("{base}.csr"), csr.pem().into_bytes(), Access::Everyone),
        (format!("{base}.key"), pem.expose().as_bytes().to_vec(), Access::Owner),
        (
            "sample-elasticsearch.yml".to_owned(),
            sample.into_bytes(),
            Access::Everyone,
        ),
    ])
}

fn authority_bundle(authority: &Authority, password: &Secret, now: Timestamp) -> Result<Vec<u8>, Failure> {
    let identity = authority.to_identity();
    let entry = P12Identity {
        alias: "ca",
        key: &identity.key,
        chain: &identity.chain[..1],
        created: now,
    };
    Ok(write_p12(Some(&entry), &[], password)?)
}

fn kibana_files(plan: &Plan, archive: &mut Archive) -> Result<(), Failure> {
    let authority = match &plan.source {
        Source::Request => None,
        Source::Authority { authority, .. } => Some(authority),
    };
    archive.folder("kibana")?;
    archive.file(
        "kibana/README.txt",
        kibana_readme(authority.is_some()).as_bytes(),
        Access::Everyone,
    )?;
    if let Some(authority) = authority {
        archive.file(
            "kibana/elasticsearch-ca.pem",
            authority.certificate_pem().as_bytes(),
            Access::Everyone,
        )?;
    }
    archive.file(
        "kibana/sample-kibana.yml",
        kibana_sample(plan).as_bytes(),
        Access::Everyone,
    )
}

impl Plan {
    fn has_password(&self) -> bool {
        !self.password.is_empty()
    }
}

fn bundle_readme(has_password: bool) -> String {
    let password = if has_password {
        "3. Store its password (the command asks for it):\n   elasticsearch-keystore add xpack.security.http.ssl.keystore.secure_password\n"
    } else {
        "3. The file has no password; let nobody but Elasticsearch read it.\n"
    };
    format!(
        "HTTPS for Elasticsearch\n\n\
         http.p12                  certificate and key for this node\n\
         sample-elasticsearch.yml  the settings that go with them\n\n\
         1. Copy http.p12 into the configuration folder of Elasticsearch.\n\
         2. Put the lines of sample-elasticsearch.yml into elasticsearch.yml.\n\
         {password}\
         4. Restart the node; its clients now need https:// and trust in the CA.\n"
    )
}

fn bundle_sample(has_password: bool) -> String {
    let note = if has_password {
        "# The password of http.p12 belongs into the key store, not here.\n"
    } else {
        ""
    };
    format!(
        "# HTTPS on the HTTP interface of Elasticsearch\n\
         xpack.security.http.ssl.enabled: true\n\
         {note}\
         xpack.security.http.ssl.keystore.path: \"http.p12\"\n"
    )
}

fn request_readme(base: &str) -> String {
    format!(
        "HTTPS for Elasticsearch, with a certificate of your CA\n\n\
         {base}.csr                the request\n\
         {base}.key                its key, which stays with you\n\
         sample-elasticsearch.yml  the settings that go with them\n\n\
         1. Send {base}.csr to your CA. It returns a certificate; call the file {base}.crt (PEM).\n\
         2. Copy {base}.crt and {base}.key into the configuration folder of Elasticsearch.\n\
         3. Put the lines of sample-elasticsearch.yml into elasticsearch.yml.\n\
         4. Restart the node; its clients now need https:// and trust in your CA.\n"
    )
}

fn request_sample(base: &str, has_password: bool) -> String {
    let note = if has_password {
        "# The password of the key belongs into the key store: xpack.security.http.ssl.secure_key_passphrase\n"
    } else {
        ""
    };
    format!(
        "# HTTPS on the HTTP interface of Elasticsearch\n\
         xpack.security.http.ssl.enabled: true\n\
         # The certificate that your CA returned for {base}.csr.\n\
         xpack.security.http.ssl.certificate: \"{base}.crt\"\n\
         {note}\
         xpack.security.http.ssl.key: \"{base}.key\"\n"
    )
}

fn ca_readme(has_password: bool) -> String {
    let password = if has_password {
        "It is protected by the password that you chose."
    } else {
        "It has no password."
    };
    format!(
        "The new certificate authority\n\n\
         ca.p12  certificate (alias ca) and key of the CA\n\n\
         {password} Nodes and clients do not need this file. Keep it where few people can read it:\n\
         whoever has it can make certificates that your clients trust. You need it again for the next certificate.\n"
    )
}

fn kibana_readme(has_ca: bool) -> String {
    let (file, step) = if has_ca {
        (
            "elasticsearch-ca.pem  the certificate of the CA that signed Elasticsearch's certificate\n",
            "1. Copy elasticsearch-ca.pem into the configuration folder of Kibana.\n",
        )
    } else {
        (
            "",
            "1. Get the certificate of your CA as PEM, call it elasticsearch-ca.pem, and copy it into the configuration folder of Kibana.\n",
        )
    };
    format!(
        "Kibana as a client of Elasticsearch over HTTPS\n\n\
         {file}\
         sample-kibana.yml     the settings that go with it\n\n\
         {step}\
         2. Put the lines of sample-kibana.yml into kibana.yml.\n\
         3. Restart Kibana.\n"
    )
}

fn kibana_sample(plan: &Plan) -> String {
    let host = plan
        .nodes
        .iter()
        .flat_map(|node| &node.dns)
        .find(|name| !name.contains('*'));
    let host = host.map_or("<host name of a node>", String::as_str);
    format!(
        "# Kibana as a client of Elasticsearch over HTTPS\n\
         elasticsearch.hosts: [ \"https://{host}:9200\" ]\n\
         elasticsearch.ssl.certificateAuthorities: [ \"config/elasticsearch-ca.pem\" ]\n"
    )
}
