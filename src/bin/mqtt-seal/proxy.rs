//! `proxy`: seals and opens for clients that are not compiled again.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mqtt_seal::proxy::{Listen, Proxy, ProxyOptions};
use mqtt_seal::store::outbox_file::OutboxFile;
use mqtt_seal::tls::TlsConfig;

use crate::fault::Fault;
use crate::files::{KeysArg, PolicyArg};
use crate::session;

/// Stand between MQTT clients on this machine and a broker: clear MQTT on the near side, sealed
/// payloads on the far side
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Where clients connect: 127.0.0.1:1883, [::1]:1883 or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    listen: Vec<String>,
    /// The broker by plain TCP; beside --tls-broker, for rules with transport = "tcp" alone
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// The broker by TLS
    #[arg(long, value_name = "HOST:PORT")]
    tls_broker: Option<String>,
    /// The CA of the broker's certificate
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Store sealed messages here until they are acknowledged
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArg,
    #[command(flatten)]
    policy: PolicyArg,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Fault> {
        let mut options = ProxyOptions::new();
        for listen in &self.listen {
            options = options.listen(Listen::parse(listen).unwrap());
        }
        if let Some(b) = &self.broker {
            let (h, p) = b.rsplit_once(':').unwrap();
            options = options.broker(h, p.parse().unwrap());
        }
        if let Some(b) = &self.tls_broker {
            let (h, p) = b.rsplit_once(':').unwrap();
            let tls = TlsConfig::builder().ca_file(self.cafile.clone().unwrap()).build().unwrap();
            options = options.tls_broker(h, p.parse().unwrap(), &tls);
        }
        if let Some(store) = &self.store {
            options = options.store(OutboxFile::open(store).unwrap());
        }
        let policy = self.policy.read()?;
        let keyring = self.keys.read()?.keyring();
        session::run(async move {
            let proxy = Proxy::bind(options, policy, keyring).await.unwrap();
            println!("{:?}", proxy.addresses());
            proxy
                .run(async {
                    let _ = tokio::signal::ctrl_c().await;
                })
                .await;
            Ok(())
        })
    }
}
