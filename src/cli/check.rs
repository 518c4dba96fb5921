//! `pixel-relay check`: validates the configuration, runs its rule tests, prints what is in force.

use std::io::Write as _;

use crate::cli::{Failure, Terminal, load_config};
use crate::config::load::{self, Sources};
use crate::sync;

pub(super) fn check(sources: Sources, terminal: &mut Terminal) -> Result<(), Failure> {
    let config = load_config(sources, terminal)?;
    let compiled = sync::compile_all(&config).map_err(Failure::Configuration)?;
    for warning in &compiled.warnings {
        writeln!(terminal.errors, "warning: {warning}")?;
    }
    let mut passed = 0;
    let mut failed = 0;
    for sync in &compiled.syncs {
        let tests = config.syncs.get(sync.name()).map_or(&[][..], |sync| &sync.tests);
        for test in tests {
            match sync.run_test(test) {
                Ok(()) => passed += 1,
                Err(difference) => {
                    failed += 1;
                    writeln!(
                        terminal.errors,
                        "test failed: sync.{}: {}\n{difference}",
                        sync.name(),
                        test.name
                    )?;
                }
            }
        }
    }
    write!(terminal.output, "{}", load::effective(&config))?;
    terminal.output.flush()?;
    if passed + failed > 0 {
        writeln!(terminal.errors, "rule tests: {passed} passed, {failed} failed")?;
    }
    if failed > 0 {
        return Err(Failure::Usage(format!("{failed} rule test(s) failed")));
    }
    writeln!(terminal.errors, "the configuration is valid")?;
    Ok(())
}
