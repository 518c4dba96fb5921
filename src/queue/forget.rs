//! Forgets a person: looks for what is stored of them beside the writer, and has it erased.

use std::collections::HashSet;
use std::sync::Arc;

use crate::profile::ProfileKey;

use super::erase::{Forgotten, Person, Search};
use super::profiles;
use super::store::Core;
use super::writer::{Ask, WriterCommand};
use super::{Queue, StoreError};

impl Queue {
    /// Erases a person's events from the queue, the dead letters and the bytes on disk.
    pub async fn forget(&self, person: Person) -> Result<Forgotten, StoreError> {
        let search = Arc::new(Search::new(person));
        let mut forgotten = Forgotten::default();
        let mut after = 0;
        loop {
            let looking = Arc::clone(&search);
            let piece = self
                .read(move |connection| looking.rows(connection, after))
                .await?;
            let Some((found, last)) = piece else { break };
            after = last;
            if !found.is_empty() {
                let piece = self.change(move |store| store.erase(&found)).await?;
                forgotten.queued += piece.queued;
                forgotten.in_flight += piece.in_flight;
            }
        }
        after = 0;
        loop {
            let looking = Arc::clone(&search);
            let piece = self
                .read(move |connection| looking.dead(connection, after))
                .await?;
            let Some((found, last)) = piece else { break };
            after = last;
            if !found.is_empty() {
                forgotten.dead += self.change(move |store| store.erase_dead(&found)).await?;
            }
        }
        forgotten.profiles = self.forget_profiles(search).await?;
        self.scrub().await?;
        Ok(forgotten)
    }

    /// Erases the profiles that a search finds, and those of the devices that belong to them; gives their
    /// number.
    async fn forget_profiles(&self, search: Arc<Search>) -> Result<u64, StoreError> {
        let mut people: HashSet<ProfileKey> = search.profiles().clone();
        let mut after = 0;
        loop {
            let looking = Arc::clone(&search);
            let piece = self
                .read(move |connection| looking.profiles_of(connection, after))
                .await?;
            let Some((found, last)) = piece else { break };
            after = last;
            people.extend(found);
        }
        if people.is_empty() {
            return Ok(0);
        }
        let people = Arc::new(people);
        let mut erased = 0;
        after = 0;
        loop {
            let owners = Arc::clone(&people);
            let piece = self
                .read(move |connection| {
                    profiles::search(connection, after, |key, body| {
                        owners.contains(&key) || profiles::belongs_to(body, &owners)
                    })
                })
                .await?;
            let Some((found, last)) = piece else {
                return Ok(erased);
            };
            after = last;
            if !found.is_empty() {
                erased += self
                    .change(move |store| store.erase_profiles(&found))
                    .await?;
            }
        }
    }

    /// Zeroes every free page, a piece at a time.
    async fn scrub(&self) -> Result<(), StoreError> {
        while self.change(Core::fill_free_pages).await? {}
        while self.change(Core::let_filler_go).await? {}
        let (empty, emptied) = Ask::boxed(|store: &mut Core| store.empty_log());
        self.send(WriterCommand::Outside(empty)).await?;
        emptied.await.unwrap_or(Err(StoreError::Closed))
    }
}
