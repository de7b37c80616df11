//! File, environment and `-E`, as one set of settings: flag > environment > file > default.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use fleet_server::{FleetServerSettings, SettingsWarning};
use fs_err as fs;
use serde_json::{Map, Value, json};

use super::arguments::FleetServerArguments;
use super::environment::{self, Setting};
use crate::printer::{self, Hint};
use crate::version;

const DEFAULT_FILE: &str = "fleet-server.yml";
/// More is no configuration file.
const MAX_BYTES: u64 = 4 << 20;

/// Reads everything and prints what has no effect.
pub(super) fn read(
    arguments: &FleetServerArguments,
    environment: &BTreeMap<String, String>,
) -> Result<FleetServerSettings> {
    let name = arguments.config.as_ref().map_or(DEFAULT_FILE, |path| path.as_str());
    let mut over = environment::settings(environment);
    for pair in &arguments.set {
        over.push(parse_pair(pair)?);
    }
    let text = text(name, arguments.config.is_some() || over.is_empty())?;
    let (mut settings, warnings) = combine(name, &text, &over, environment)?;
    for warning in warnings {
        printer::warning(format!("{name}: {warning}"));
    }
    version::STACK.clone_into(&mut settings.version);
    Ok(settings)
}

fn text(name: &str, needed: bool) -> Result<String> {
    match fs::metadata(name) {
        Ok(found) if found.len() > MAX_BYTES => {
            bail!("`{name}` is larger than {MAX_BYTES} bytes: it is no configuration file")
        }
        Ok(_) => Ok(fs::read_to_string(name)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !needed => Ok(String::new()),
        Err(error) => Err(Hint::error(
            error.to_string(),
            "name the configuration file with -c; `flotilla up` needs none",
        )),
    }
}

/// The file's own text is read for the lines of its warnings, even when other sources add to it.
fn combine(
    name: &str,
    text: &str,
    over: &[Setting],
    environment: &BTreeMap<String, String>,
) -> Result<(FleetServerSettings, Vec<SettingsWarning>)> {
    let memory = memory_mib();
    let of_file = FleetServerSettings::from_yaml(name, text, environment, memory);
    if over.is_empty() {
        return Ok(of_file?);
    }
    let mut root = settings::from_yaml(name, text)?;
    for (key, value) in over {
        set(&mut root, key, value.clone()).with_context(|| format!("`{key}` cannot be set"))?;
    }
    let (combined, warnings) = FleetServerSettings::from_yaml(name, &settings::to_yaml(&root), environment, memory)?;
    let of_file = of_file.map(|(_, warnings)| warnings).unwrap_or_default();
    let line = |key: &str| {
        of_file
            .iter()
            .find(|warning| warning.key == key)
            .and_then(|warning| warning.line)
    };
    let with_lines = warnings.into_iter().map(|warning| SettingsWarning {
        line: line(&warning.key),
        ..warning
    });
    Ok((combined, with_lines.collect()))
}

fn parse_pair(pair: &str) -> Result<Setting> {
    let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        bail!("-E must be `key=value`, and `{pair}` is not");
    };
    let value = settings::from_yaml_as_written(&format!("-E {key}"), value)?;
    Ok((key.to_owned(), value))
}

/// Sets a dotted key. `server`, `policy` and the like without `inputs.0` are those of the one input.
fn set(root: &mut Value, key: &str, value: Value) -> Result<()> {
    let inputs = key.starts_with("server.") || key.starts_with("policy.");
    let path = if inputs {
        format!("inputs.0.{key}")
    } else {
        key.to_owned()
    };
    let mut place = &mut *root;
    for part in path.split('.') {
        place = enter(place, part)?;
    }
    *place = value;
    if let Some(first) = root.pointer_mut("/inputs/0").and_then(Value::as_object_mut) {
        first.entry("type").or_insert_with(|| json!("fleet-server"));
    }
    Ok(())
}

fn enter<'a>(place: &'a mut Value, part: &str) -> Result<&'a mut Value> {
    if let Ok(index) = part.parse::<usize>() {
        if place.is_null() {
            *place = json!([]);
        }
        let Value::Array(items) = place else {
            bail!("`{part}` is a place in a list, and this is none");
        };
        if index > items.len() {
            bail!("the list has only {} entries", items.len());
        }
        if index == items.len() {
            items.push(Value::Object(Map::new()));
        }
        return Ok(&mut items[index]);
    }
    if place.is_null() {
        *place = json!({});
    }
    match place {
        Value::Object(map) => Ok(map.entry(part).or_insert(Value::Null)),
        _ => bail!("`{part}` is below a value that is no group of settings"),
    }
}

/// The machine's, from which the limits are chosen when the file names no number of agents.
pub(crate) fn memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "output.elasticsearch:\n  hosts: [\"https://es:9200\"]\n  no_such_key: 1\ninputs:\n  - type: fleet-server\n    server:\n      port: 8443\n";

    fn combined(text: &str, over: &[&str]) -> Result<(FleetServerSettings, Vec<SettingsWarning>)> {
        let over: Vec<Setting> = over.iter().map(|pair| parse_pair(pair).unwrap()).collect();
        combine("fleet-server.yml", text, &over, &BTreeMap::new())
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let (settings, _) = combined(FILE, &["server.port=1", "inputs.0.server.host=::1"]).unwrap();
        assert_eq!((settings.listen.port, settings.listen.host.as_str()), (1, "::1"));
        assert_eq!(settings.output.hosts, ["https://es:9200"]);
    }

    #[test]
    fn warnings_keep_their_lines() {
        for over in [&[][..], &["server.port=1"]] {
            let (_, warnings) = combined(FILE, over).unwrap();
            let [warning] = warnings.as_slice() else {
                panic!("one warning: {warnings:?}")
            };
            assert_eq!(warning.line, Some(3), "{warning}");
        }
    }

    #[test]
    fn flags_alone_are_a_configuration() {
        let (settings, _) = combined("", &["output.elasticsearch.hosts=[\"es\"]", "policy.id=p"]).unwrap();
        assert_eq!(
            (settings.output.hosts, settings.policy_id),
            (vec!["es".to_owned()], "p".to_owned())
        );
        assert!(combined("", &[]).is_err(), "an empty file has no Fleet Server");
    }

    #[test]
    fn wrong_pairs_are_told() {
        for wrong in ["novalue", "=x"] {
            assert!(parse_pair(wrong).is_err(), "{wrong}");
        }
        assert!(combined(FILE, &["inputs.7.server.port=1"]).is_err());
        assert!(combined(FILE, &["output.elasticsearch.hosts.x=1"]).is_err());
    }
}
