//! A configuration file: whatever it holds, it is a configuration or a list of sentences with their places.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::config::Config;
use std::sync::LazyLock;

/// One file for the process.
static FILE: LazyLock<std::path::PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("mailbell-fuzz-{}.toml", std::process::id())));

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("the temporary folder can be written");
    let outcome = Config::load(&FILE);
    std::fs::remove_file(&*FILE).expect("the file is there");
    match outcome {
        Ok(config) => {
            assert!(config.state.is_absolute() && config.mail.root.is_absolute());
            assert!(config.mail.file_mode & 0o007 == 0);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.iter().filter(|octet| **octet == b'\n').count() + 1;
            for problem in problems {
                assert!(problem.line <= lines && !problem.message.is_empty());
                let printed = problem.to_string();
                assert!(!printed.chars().any(|letter| letter.is_control() && letter != '\n'), "{printed:?}");
            }
        }
    }
});
