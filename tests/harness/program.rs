//! What the test programs that read options of their own have in common.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Runs a test program with the options that were read, if it is to run; fails where a promise was broken.
pub fn main<O, F: Future<Output = bool>>(
    name: &str,
    options: Result<Option<O>, String>,
    run: impl FnOnce(O) -> F,
) -> ExitCode {
    let options = match options {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{name}: {problem}");
            return ExitCode::from(2);
        }
    };
    // Nothing else in this process installs one.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if runtime.block_on(run(options)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a command of the program; returns its output, or its message where it fails.
pub async fn command(
    mut program: Command,
    config: &Path,
    arguments: &[&str],
    patience: Duration,
) -> Result<String, String> {
    let output = program
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(output) = timeout(patience, output).await else {
        return Err(format!("{arguments:?} did not end within {patience:?}"));
    };
    let output = output.unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{arguments:?} failed: {said}"))
}
