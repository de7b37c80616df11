//! A broker of a real Apache Kafka, started from its jars.
//!
//! They are looked for in the folder that `FLOTILLA_KAFKA` names; `cargo xtask test` fetches them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{eventually, free_ports, skip};

const STARTS_WITHIN: Duration = Duration::from_mins(3);
/// Any id of 16 octets in base64 will do.
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// Where the broker's login modules are.
const LOGIN: &str = "org.apache.kafka.common.security";

/// One broker that is its own controller, on the loopback address, with three partitions in each topic.
///
/// Its user for SASL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) is `shipper`.
#[derive(Debug)]
pub struct RealKafka {
    jars: PathBuf,
    folder: TempDir,
    ports: [u16; 4],
    process: Option<Child>,
}

/// What the broker presents and trusts, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct KafkaTls<'a> {
    /// Key (PKCS#8) and chain.
    pub pair: &'a str,
    /// Whose client certificates it takes.
    pub client_ca: &'a str,
}

impl RealKafka {
    /// Starts one; `None`, and said aloud, where its jars are not.
    ///
    /// # Panics
    /// The broker does not start.
    #[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
    pub fn start(tls: KafkaTls<'_>, password: &str) -> Option<Self> {
        let Ok(jars) = std::env::var("FLOTILLA_KAFKA") else {
            skip("FLOTILLA_KAFKA names no folder with the jars of Apache Kafka; `cargo xtask test` fetches them");
            return None;
        };
        let mut kafka = Self {
            jars: jars.into(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            ports: free_ports(),
            process: None,
        };
        kafka.configure(tls, password);
        let scram = |number: u16| format!("SCRAM-SHA-{number}=[name=shipper,password={password}]");
        let formatted = kafka
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", CLUSTER, "-c"])
            .arg(kafka.file("server.properties"))
            .args(["--add-scram", &scram(256), "--add-scram", &scram(512)])
            .output();
        let output: Output = formatted.expect("java can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        kafka.restart();
        Some(kafka)
    }

    /// `host:port` without TLS.
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// `host:port` with TLS; a client certificate is required.
    pub fn mutual(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// `host:port` with TLS and SASL.
    pub fn sasl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// Takes the broker down as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only for a process that is gone already.
            process.kill().and_then(|()| process.wait()).ok();
        }
    }

    /// Starts the broker on what it has written, and waits until it listens.
    ///
    /// # Panics
    /// It ends, or takes too long.
    pub fn restart(&mut self) {
        let log = fs_err::File::create(self.file("broker.log"))
            .expect("the folder is there")
            .into_file();
        let mut process = self
            .java("kafka.Kafka")
            .arg(self.file("server.properties"))
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("java can be run");
        eventually("Kafka listens", STARTS_WITHIN, || {
            let ended = process.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "Kafka ended: {}", self.told());
            std::net::TcpStream::connect(("127.0.0.1", self.ports[2])).ok()
        });
        self.process = Some(process);
    }

    /// All records as the broker's own tool reads them off its disk: the topic and what the tool prints of each.
    ///
    /// # Panics
    /// The tool fails.
    pub fn records(&self) -> Vec<(String, String)> {
        let data = fs_err::read_dir(self.file("data")).expect("the broker has written");
        let partitions = data.filter_map(Result::ok).map(|entry| entry.path());
        let mut segments: Vec<PathBuf> = partitions
            .map(|folder| folder.join("00000000000000000000.log"))
            .filter(|segment| segment.is_file() && !segment.to_string_lossy().contains("__"))
            .collect();
        segments.sort();
        let names: Vec<_> = segments.iter().map(|segment| segment.to_string_lossy()).collect();
        let output = self
            .java("kafka.tools.DumpLogSegments")
            .args(["--print-data-log", "--files", &names.join(",")])
            .output()
            .expect("java can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut topic = String::new();
        let mut records = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(segment) = line.strip_prefix("Dumping ") {
                let folder = Path::new(segment)
                    .parent()
                    .and_then(Path::file_name)
                    .unwrap_or_default();
                topic = folder
                    .to_string_lossy()
                    .rsplit_once('-')
                    .map_or_else(String::new, |(topic, _)| topic.to_owned());
            } else {
                records.push((topic.clone(), line.to_owned()));
            }
        }
        records
    }

    fn configure(&self, tls: KafkaTls<'_>, password: &str) {
        let [plain, mutual, sasl, controller] = self.ports;
        let write = |name: &str, text: &str| fs_err::write(self.file(name), text).expect("the folder is writable");
        write("broker.pem", tls.pair);
        write("client-ca.pem", tls.client_ca);
        let modules = format!(
            "listener.name.sasl.plain.sasl.jaas.config={LOGIN}.plain.PlainLoginModule required user_shipper=\"{password}\";\n\
             listener.name.sasl.scram-sha-256.sasl.jaas.config={LOGIN}.scram.ScramLoginModule required;\n\
             listener.name.sasl.scram-sha-512.sasl.jaas.config={LOGIN}.scram.ScramLoginModule required;\n"
        );
        let folder = self.folder.path().display();
        write(
            "server.properties",
            &format!(
                "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAIN://127.0.0.1:{plain},TLS://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
             listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAIN\n\
             log.dirs={folder}/data\n\
             num.partitions=3\n\
             message.max.bytes=20000\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={folder}/broker.pem\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={folder}/client-ca.pem\n\
             listener.name.tls.ssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             {modules}"
            ),
        );
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(self.jars.join("*"))
            .arg(class)
            .stdin(Stdio::null());
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn told(&self) -> String {
        fs_err::read_to_string(self.file("broker.log")).unwrap_or_default()
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        self.kill();
    }
}
