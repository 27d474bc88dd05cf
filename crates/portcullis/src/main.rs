//! The program: arguments, configuration, certificates, and the start of every component.
//!
//! It holds no behaviour of a component. `up` wires them together and nothing else knows them all.

mod addresses;
mod admission;
mod apiserver;
mod arguments;
mod audit;
mod audit_log;
mod audit_webhook;
mod authentication;
mod authorization;
mod commits;
mod configuration;
mod connections;
mod control;
mod etcd_requests;
mod explain;
mod extension_authentication;
mod fairness;
mod flags;
mod guards;
mod kubeconfig;
mod local_etcd;
mod memory;
mod pki;
mod rbac_from_audit;
mod refused;
mod sealing;
mod service_accounts;
mod storage;
mod store_checks;
mod store_commands;
mod store_footprint;
mod tracing_config;
mod up;
mod version;

/// Objects are made by one thread and let go of by another, which the C library's allocator gives back late (docs/decisions/0011).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use time::OffsetDateTime;

use arguments::{Arguments, Issue, Pki, Rbac, Subcommands};

fn main() -> ExitCode {
    memory::allow_huge_pages(false);
    let done = match Arguments::parse().command {
        Subcommands::Up(arguments) => up::run(&arguments),
        Subcommands::Pki(Pki::Issue(arguments)) => issue(&arguments),
        Subcommands::Explain(arguments) => match explain::run(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Subcommands::Rbac(Rbac::FromAudit(arguments)) => match rbac_from_audit::run(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Subcommands::AuditLog(command) => match audit_log::verify::run(&command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Subcommands::Store(command) => match store_commands::run(&command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Subcommands::EtcdChild(command) => command.run().map(|never| match never {}),
        Subcommands::Version => {
            println!("portcullis {}", version::VERSION);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn issue(arguments: &Issue) -> Result<()> {
    let groups: Vec<_> = arguments.groups.iter().map(String::as_str).collect();
    let subject = pki::Subject::new(&arguments.user, &groups)?;
    let directory = pki::Directory::of(&arguments.data_dir.path()?);
    directory.issue(&subject, &arguments.out, OffsetDateTime::now_utc())?;
    println!("{0}.crt and {0}.key are for {1:?}", arguments.out.display(), arguments.user);
    Ok(())
}
