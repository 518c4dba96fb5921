//! A token file, watched.
//!
//! The file is read anew every few seconds rather than watched for notifications, since secrets are
//! often mounted through links and network file systems that give none. A file that is missing,
//! or that could not have been loaded at the start, leaves the token as it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::is_metas_secret;

/// How often the file is read.
pub const EVERY: Duration = Duration::from_secs(5);
/// Longest file, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A token file, and the token that it last gave.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    token: SecretString,
    next: Instant,
}

impl TokenFile {
    /// Watches a file that gave the token when the configuration was loaded.
    pub fn new(path: PathBuf, token: SecretString) -> Self {
        Self {
            path,
            token,
            next: Instant::now(),
        }
    }

    /// When the file is due to be read again.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Reads the file if it is due. Gives the token where it is a new one.
    pub async fn changed(&mut self) -> Option<SecretString> {
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        let path = self.path.clone();
        let token = spawn_blocking(move || read(&path)).await.ok()?.ok()?;
        let is_new = is_metas_secret(token.expose_secret())
            && token.expose_secret() != self.token.expose_secret();
        is_new.then(|| {
            self.token = token.clone();
            token
        })
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(SecretString::from(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_given_once_and_nonsense_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut file = TokenFile::new(path.clone(), SecretString::from("first"));
        let steps = [
            (None, None),
            (Some("first\n"), None),
            (Some(" second \n"), Some("second")),
            (Some("second"), None),
            (Some(" \n"), None),
            (Some(""), None),
            (Some("thi rd"), None),
            (Some("third\nfourth"), None),
            (Some("dritt\u{e9}"), None),
            (Some("first"), Some("first")),
        ];
        for (content, expected) in steps {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            tokio::time::advance(EVERY).await;
            let token = file.changed().await;
            let token = token.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(token, expected, "{content:?}");
        }
        std::fs::write(&path, "third").unwrap();
        assert!(file.changed().await.is_none(), "not due yet");
    }
}
