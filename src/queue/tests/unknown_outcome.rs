//! Commits of which nobody knows whether they happened.

use super::*;

#[tokio::test]
async fn who_waits_for_events_learns_of_those_that_such_a_commit_stored() {
    let fixture = QueueFixture::new(TestEngine::Memory);
    let TestStore::Memory(memory) = &fixture.store else {
        unreachable!("it is kept in memory")
    };
    let queue = &fixture.queue;
    queue.push(vec![event(1)]).await.unwrap();
    queue.changed(&web()).await;
    memory.set_fault(Some(StoreFault::UnknownAndStored));
    queue.push(vec![event(2)]).await.unwrap_err();
    let long = Duration::from_secs(60);
    let woken = tokio::time::timeout(long, queue.changed(&web())).await;
    assert!(woken.is_ok());
    assert_eq!(queue.backlog(&web()).events, 2);
    let pushed = queue.push(vec![event(2)]).await.unwrap();
    assert_eq!((pushed.queued, pushed.duplicates), (0, 1));
}
