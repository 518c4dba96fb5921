//! `pixel-relay check`: validates the configuration, runs its rule tests, prints what is in force.

use std::io::Write as _;

use crate::cli::{CommandFailure, Terminal, load_config_to_send};
use crate::config::load::{self, Loaded, Sources};
use crate::sync::run_test;

pub(super) fn check(sources: Sources, terminal: &mut Terminal) -> Result<(), CommandFailure> {
    let (Loaded { config, warnings }, syncs) = load_config_to_send(sources)?;
    for warning in warnings {
        writeln!(terminal.errors, "warning: {warning}")?;
    }
    let mut passed = 0;
    let mut failed = 0;
    for sync in &syncs {
        let name = sync.name();
        for test in config.syncs.get(name).iter().flat_map(|sync| &sync.tests) {
            let Err(difference) = run_test(test, sync) else {
                passed += 1;
                continue;
            };
            failed += 1;
            let test = &test.name;
            writeln!(
                terminal.errors,
                "failed: sync.{name}, test \"{test}\"\n{difference}"
            )?;
        }
    }
    write!(terminal.output, "{}", load::effective(&config))?;
    terminal.output.flush()?;
    if passed + failed > 0 {
        writeln!(
            terminal.errors,
            "rule tests: {passed} passed, {failed} failed"
        )?;
    }
    if failed > 0 {
        return Err(CommandFailure::Usage("a rule test failed".to_owned()));
    }
    writeln!(terminal.errors, "the configuration is valid")?;
    Ok(())
}
