//! How many heaps the C library's allocator keeps.
//!
//! glibc gives each thread its own, up to eight for each core, and what one of them has free the others cannot use: a store that takes
//! in documents had twice the memory by it. Only the environment of a new process says how many, so that the program starts itself anew.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

/// glibc's own name for it.
const VARIABLE: &str = "MALLOC_ARENA_MAX";
/// They go on until they are stopped, and take in what a whole fleet sends.
const SERVERS: [&str; 4] = ["up", "fleet-server", "elasticsearch-api", "console"];
const AGENTS: [&str; 2] = ["run", "container"];

/// Starts the program anew with few heaps when it is to stay: one for each core in a server, one in an agent, which is small.
/// Returns when there is nothing to change; who has set the variable knows better.
pub(crate) fn limit(arguments: &[OsString]) {
    if cfg!(not(target_env = "gnu")) || std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let (Some(heaps), Ok(program)) = (heaps(arguments), std::env::current_exe()) else {
        return;
    };
    let (name, rest) = arguments.split_first().unzip();
    let mut anew = Command::new(program);
    anew.args(rest.unwrap_or_default()).env(VARIABLE, heaps.to_string());
    if let Some(name) = name {
        anew.arg0(name);
    }
    // It returns when that fails, and then the program goes on with the heaps that it has.
    drop(anew.exec());
}

/// How many a command is to have; `None` for those that are over soon.
fn heaps(arguments: &[OsString]) -> Option<usize> {
    let (name, rest) = arguments.split_first()?;
    let has = |words: &[&str]| rest.iter().any(|word| words.iter().any(|one| word == one));
    let first_is = |words: &[&str]| rest.first().is_some_and(|word| words.iter().any(|one| word == one));
    let is_agent = Path::new(name).file_name().is_some_and(|name| name == "elastic-agent") || first_is(&["agent"]);
    if is_agent {
        return has(&AGENTS).then_some(1);
    }
    first_is(&SERVERS).then(|| available_parallelism().map_or(2, |cores| cores.get().max(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heaps_of(line: &str) -> Option<usize> {
        heaps(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_stays_has_few_heaps() {
        assert_eq!(heaps_of("/usr/bin/elastic-agent run -c elastic-agent.yml"), Some(1));
        assert_eq!(heaps_of("flotilla agent --path.home=/x run"), Some(1));
        assert!(heaps_of("flotilla up --data-dir run").is_some_and(|heaps| heaps >= 2));
        for short in [
            "elastic-agent status",
            "flotilla agent version",
            "flotilla search up",
            "flotilla",
        ] {
            assert_eq!(heaps_of(short), None, "{short}");
        }
    }
}
