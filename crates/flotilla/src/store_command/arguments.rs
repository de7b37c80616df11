//! `flotilla store`: its flags.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

/// Flags of `store`.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// Folder of the installation [default: /var/lib/flotilla for root, else ~/.local/share/flotilla]
    #[arg(long, value_name = "FOLDER", env = "FLOTILLA_DATA_DIR", global = true)]
    pub(super) data_dir: Option<Utf8PathBuf>,

    #[command(subcommand)]
    pub(super) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read everything and compare it with its checksums; status 1 when something is damaged
    Check {
        /// Print the report as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Give unused space back: merge segments, shrink the database
    Compact,
    /// Copy documents, certificates and secrets as they are now into a new folder; the process may go on running
    Backup {
        /// A folder that does not exist yet. It will hold private keys: keep it as safe as the original
        #[arg(value_name = "FOLDER")]
        target: Utf8PathBuf,
    },
    /// Make an installation from a backup; the data folder must be missing or empty
    Restore {
        /// The folder that `flotilla store backup` wrote
        #[arg(value_name = "FOLDER")]
        backup: Utf8PathBuf,
    },
}
