//! The proxy as a process: its start, what signals do, its end.

use mqtt_seal::proxy::{Proxy, ProxyHandle};
use mqtt_seal::store::outbox_file::OutboxFile;

use super::check::warnings;
use super::notify::{self, Phase};
use super::settings::Settings;
use crate::fault::Fault;
use crate::{files, show};

/// Serves until a signal ends it.
pub(super) async fn serve(settings: Settings) -> Result<(), Fault> {
    let (policy, keyring) = files::protection(&settings.policy, &settings.keys)?;
    for warning in warnings(&settings, &policy) {
        tracing::warn!("{warning}");
    }
    let mut options = settings.options()?;
    if let Some(path) = &settings.store {
        let store = OutboxFile::open(path);
        options = options.store(store.map_err(|error| failed(&error, "name another file"))?);
    }
    // a signal from here on is one to the proxy
    let signals = Signals::new()?;
    let proxy = Proxy::bind(options, policy, keyring).await;
    let proxy = proxy.map_err(|error| failed(&error, "correct the options"))?;
    announce(&proxy)?;
    notify::tell(Phase::Ready);
    let Signals { mut end, mut reload } = signals;
    let handle = proxy.handle();
    let reloads = tokio::spawn(async move {
        while reload.recv().await.is_some() {
            notify::tell(Phase::Reloading);
            read_again(&settings, &handle);
            notify::tell(Phase::Ready);
        }
    });
    proxy
        .run(async {
            end.recv().await;
            tracing::info!("stopping");
            notify::tell(Phase::Stopping);
        })
        .await;
    reloads.abort();
    Ok(())
}

fn failed(error: &impl core::fmt::Display, fix: &str) -> Fault {
    Fault::told(error, fix)
}

fn announce(proxy: &Proxy) -> Result<(), Fault> {
    for listen in proxy.listeners() {
        show::line(&format!("listening on {listen}"))?;
    }
    if let Some(address) = proxy.status_address() {
        show::line(&format!("status page on http://{address}/"))?;
    }
    Ok(())
}

/// Reads rules and keys again; what is no good leaves those before in force.
fn read_again(settings: &Settings, handle: &ProxyHandle) {
    let read = files::protection(&settings.policy, &settings.keys);
    let (policy, keyring) = match read {
        Ok(read) => read,
        Err(fault) => {
            let (what, fix) = fault.parts();
            tracing::error!(fix, "not reloaded: {what}");
            return;
        }
    };
    let found = warnings(settings, &policy);
    match handle.reload(policy, keyring) {
        Ok(()) => {
            tracing::info!("rules and keys reloaded");
            for warning in found {
                tracing::warn!("{warning}");
            }
        }
        Err(error) => tracing::error!("not reloaded: {error}"),
    }
}

/// What arrives by signals.
struct Signals {
    end: Arrivals,
    reload: Arrivals,
}

type Arrivals = tokio::sync::mpsc::Receiver<()>;

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self, Fault> {
        use tokio::signal::unix::SignalKind;

        let end = arrivals([SignalKind::terminate(), SignalKind::interrupt()])?;
        Ok(Self { end, reload: arrivals([SignalKind::hangup()])? })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self, Fault> {
        let (asked, end) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            let _ = asked.send(()).await;
        });
        let (_, reload) = tokio::sync::mpsc::channel(1);
        Ok(Self { end, reload })
    }
}

/// Whenever one of these signals comes.
#[cfg(unix)]
fn arrivals<const N: usize>(
    kinds: [tokio::signal::unix::SignalKind; N],
) -> Result<Arrivals, Fault> {
    let (arrived, arrivals) = tokio::sync::mpsc::channel(1);
    for kind in kinds {
        let mut signal = tokio::signal::unix::signal(kind).map_err(|error| {
            Fault::new(format!("no signals, {}", error.kind()), "free some resources")
        })?;
        let arrived = arrived.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                // one that waits stands for all that come meanwhile
                let _ = arrived.try_send(());
            }
        });
    }
    Ok(arrivals)
}
