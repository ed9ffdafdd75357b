//! Measures each path to dialog once a second with a real ICE check, until it is told to stop.
//!
//! The paths lead to a transport that dialog keeps for as long as our WebSocket is open. What ends, be it the WebSocket or
//! the allocation on a TURN server, is opened again; in the end all is given back, so that nothing stays behind.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use hubs_tui::feed::{Feed, Path};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::path::Measured;
use crate::{
    check::Context,
    facts::DialogFacts,
    finding::printable,
    ice::Agent,
    net::Trust,
    protoo::{Dialog, ProtooError, Transport},
};

/// How long to wait before dialog is asked again for what it did not give.
const RETRY: Duration = Duration::from_secs(3);

/// How often dialog is asked about the transport. Its answers show that it still holds it, and the questions keep proxies on the
/// way from closing the WebSocket as idle.
const INQUIRY: Duration = Duration::from_secs(10);

/// How long servers may take to let us go.
const GOODBYE_LIMIT: Duration = Duration::from_secs(3);

/// A measurement under way. Dropped, it ends as well, but is not waited for.
pub(super) struct Measurement {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Measurement {
    /// Measures the paths to the deployment, and tells what comes of it.
    pub(super) fn start(cx: Arc<Context>, tell: mpsc::Sender<Feed>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut measuring = Measuring { cx, tell, paths: Vec::new() };
        Self { stop, task: tokio::spawn(async move { measuring.run(stopped).await }) }
    }

    /// Ends it, and waits until all is given back.
    pub(super) async fn end(self) {
        drop(self.stop);
        // Who does not let us go in time finds the connection closed.
        let _ = timeout(GOODBYE_LIMIT, self.task).await;
    }
}

struct Measuring {
    cx: Arc<Context>,
    tell: mpsc::Sender<Feed>,
    paths: Vec<Measured>,
}

impl Measuring {
    async fn run(&mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let opened = tokio::select! {
                _ = &mut stopped => return,
                opened = self.open() => opened,
            };
            let obstacle = match opened {
                Err(error) => error,
                Ok((mut dialog, transport)) => {
                    self.lead_to(&transport).await;
                    let agent = Agent::new(&transport.ice);
                    let ended = tokio::select! {
                        _ = &mut stopped => None,
                        error = ended(&mut dialog, &transport) => Some(error),
                        () = self.measure(&agent) => None,
                    };
                    tokio::join!(join_all(self.paths.iter_mut().map(Measured::close)), dialog.close());
                    let Some(error) = ended else { return };
                    error
                }
            };
            self.lose(&obstacle).await;
            tokio::select! {
                _ = &mut stopped => return,
                () = sleep(RETRY) => {}
            }
        }
    }

    /// A transport that waits at dialog. Whether browsers accept dialog's certificate is for a check to say.
    async fn open(&self) -> Result<(Dialog, Transport), ProtooError> {
        let Context { net, facts, target, .. } = &*self.cx;
        let DialogFacts { host, port } = facts.signalling(target);
        let mut dialog = Dialog::open(net, &host, port, Trust::Anything).await?;
        let transport = dialog.create_transport().await?;
        Ok((dialog, transport))
    }

    /// Takes the paths that lead to the transport.
    async fn lead_to(&mut self, transport: &Transport) {
        self.paths = Measured::towards(&self.cx, transport).await;
        let described: Vec<Path> = self.paths.iter().map(Measured::description).collect();
        if described.is_empty() {
            self.note("dialog announces no address to which a path could lead").await;
        }
        self.send(Feed::Paths(described)).await;
    }

    /// Measures each path at its own pace, without end.
    async fn measure(&mut self, agent: &Agent) {
        let tell = &self.tell;
        join_all(self.paths.iter_mut().map(async |path| {
            loop {
                let began = Instant::now();
                let outcome = path.sample(agent).await;
                // The view alone can be gone, and then we are about to be stopped.
                let _ = tell.send(Feed::Sample { path: path.name.clone(), outcome }).await;
                sleep_until(began + path.period()).await;
            }
        }))
        .await;
    }

    /// While there is no transport, no path leads anywhere.
    async fn lose(&self, obstacle: &ProtooError) {
        let obstacle = printable(&format!("no transport: {obstacle}"));
        if self.paths.is_empty() {
            self.note(&obstacle).await;
        }
        for path in &self.paths {
            self.send(Feed::Sample { path: path.name.clone(), outcome: Err(obstacle.clone()) }).await;
        }
    }

    async fn note(&self, text: &str) {
        self.send(Feed::Note(text.to_owned())).await;
    }

    async fn send(&self, feed: Feed) {
        let _ = self.tell.send(feed).await;
    }
}

/// Waits until dialog has left, or does not know the transport any more.
async fn ended(dialog: &mut Dialog, transport: &Transport) -> ProtooError {
    loop {
        if let Ok(error) = timeout(INQUIRY, dialog.ended()).await {
            return error;
        }
        if let Err(error) = dialog.transport_stats(&transport.id).await {
            return error;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::{Deployment, Turn};

    /// No path is left alone for longer than some seconds.
    const LIMIT: Duration = Duration::from_secs(20);

    type Outcome = Result<Duration, String>;

    struct Told {
        measurement: Measurement,
        told: mpsc::Receiver<Feed>,
    }

    impl Told {
        fn start(deployment: &Deployment) -> Self {
            let (tell, told) = mpsc::channel(1);
            Self { measurement: Measurement::start(deployment.context().unwrap(), tell), told }
        }

        /// The paths that are announced next.
        async fn paths(&mut self) -> BTreeMap<String, String> {
            loop {
                if let Feed::Paths(paths) = self.told.recv().await.unwrap() {
                    return paths.into_iter().map(|path| (path.name, path.route)).collect();
                }
            }
        }

        /// Waits for a sample of the path with such an outcome.
        async fn wait_for(&mut self, name: &str, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
            loop {
                match timeout(LIMIT, self.told.recv()).await.unwrap().unwrap() {
                    Feed::Sample { path, outcome } if path == name && wanted(&outcome) => return outcome,
                    _ => {}
                }
            }
        }
    }

    #[tokio::test]
    async fn each_address_is_a_path_and_so_is_turn() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        let mut measured = Told::start(&deployment);
        let paths = measured.paths().await;
        assert!(paths["direct 1"].starts_with("203.0.113.9:"), "{paths:?}");
        assert!(
            paths["through TURN"].starts_with("turns:stream.hubs.demo.test:5349 -> 203.0.113.9:"),
            "{paths:?}"
        );
        measured.wait_for("through TURN", Outcome::is_ok).await.unwrap();
        measured.wait_for("direct 1", Outcome::is_err).await.unwrap_err();
        measured.measurement.end().await;
    }

    #[tokio::test]
    async fn what_no_browser_would_pass_is_no_path() {
        let deployment = Deployment::start(Turn::Shipped).await.unwrap();
        let outcome = Told::start(&deployment).wait_for("through TURN", |_| true).await;
        assert_eq!(outcome, Err("browsers refuse the certificate".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_port_of_the_gateways_is_a_path_beside_the_others() {
        let deployment = Deployment::start(Turn::Gateway).await.unwrap();
        let mut measured = Told::start(&deployment);
        let paths = measured.paths().await;
        assert_eq!(paths["gateway UDP"], "203.0.113.10:3478/udp");
        assert_eq!(paths["gateway TCP"], "203.0.113.10:5349/tcp");
        assert!(
            paths["direct 1"].starts_with("203.0.113.9:") && paths.contains_key("through TURN"),
            "{paths:?}"
        );
        for path in ["gateway UDP", "gateway TCP", "gateway UDP", "gateway TCP"] {
            measured.wait_for(path, Outcome::is_ok).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_turn_server_that_comes_back_is_used_again() {
        let mut deployment = Deployment::start(Turn::Relay).await.unwrap();
        let mut measured = Told::start(&deployment);
        measured.wait_for("through TURN", Outcome::is_ok).await.unwrap();
        deployment.put(Turn::Relay).await.unwrap();
        measured.wait_for("through TURN", Outcome::is_err).await.unwrap_err();
        measured.wait_for("through TURN", Outcome::is_ok).await.unwrap();
    }

    #[tokio::test]
    async fn without_dialog_every_path_is_lost_and_says_why() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        let mut measured = Told::start(&deployment);
        measured.wait_for("through TURN", Outcome::is_ok).await.unwrap();
        drop(deployment);
        for path in ["direct 1", "through TURN"] {
            let no_transport = |outcome: &Outcome| {
                outcome.as_ref().is_err_and(|obstacle| obstacle.starts_with("no transport: "))
            };
            measured.wait_for(path, no_transport).await.unwrap_err();
        }
    }
}
