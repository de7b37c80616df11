//! The YAML of `--in`.
#![no_main]

use certutil::check_instances_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = check_instances_file("instances.yml", text);
});
