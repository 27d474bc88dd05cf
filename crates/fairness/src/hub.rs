//! All levels: which there are, how many seats each has, and who of them gets what the pool has to lend.
//!
//! Seats of the pool go to the level that would use the least part of its own with the next request. So a level below its own
//! seats comes before all that borrow, and borrowers share what is left in relation to their own. The next request of that level
//! may be wide: the pool then waits until it has enough, and lends to nobody else meanwhile, or wide requests would starve. It
//! waits for seats that will come: no request is wider than its level's own seats.
//!
//! Whoever frees seats or begins to wait does this work, one at a time, after letting go of its own level: there is no task.
//! Locks are taken in the order `configuring` or `sharing`, then one level.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::classify::Flow;
use crate::configuration::{self, CATCH_ALL, Configuration};
use crate::level::{Level, SATED};
use crate::limits::share_out;
use crate::metrics::{FlowMeter, Metrics};
use crate::pool::Pool;
use crate::queue::queues_max;

/// Levels that are counted apart, the first by name; and flow schemas, the first in the order in which they are asked. Others are
/// served as these are and shown nowhere: names are users' text, and a series of each is kept and sent.
const LEVELS_COUNTED_MAX: usize = 256;
const SCHEMAS_COUNTED_MAX: usize = 512;

/// The levels that there are, those that drain among them.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    by_name: HashMap<String, Arc<Level>>,
    /// By name.
    ordered: Vec<Arc<Level>>,
}

impl Levels {
    pub(crate) fn ordered(&self) -> &[Arc<Level>] {
        &self.ordered
    }
}

/// See the module's text.
pub(crate) struct Hub {
    me: Weak<Hub>,
    seats: u32,
    pool: Arc<Pool>,
    metrics: Metrics,
    /// Counts what is counted apart nowhere, and is shown to nobody.
    uncounted: Metrics,
    unlisted: Arc<FlowMeter>,
    levels: ArcSwap<Levels>,
    in_force: ArcSwap<Configuration>,
    configuring: Mutex<()>,
    sharing: Mutex<()>,
    /// Which queues a flow gets is not for clients to foresee.
    secret: u64,
}

impl Hub {
    pub(crate) fn new(seats: u32, secret: Option<u64>) -> Arc<Self> {
        let none = Configuration::new(Vec::new(), Vec::new());
        let uncounted = Metrics::new();
        let hub = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            seats,
            pool: Arc::default(),
            metrics: Metrics::new(),
            unlisted: Arc::new(uncounted.flow("", "")),
            uncounted,
            levels: ArcSwap::default(),
            in_force: ArcSwap::new(Arc::clone(&none)),
            configuring: Mutex::new(()),
            sharing: Mutex::new(()),
            secret: secret.unwrap_or_else(|| RandomState::new().hash_one("queues of a flow")),
        });
        hub.take_into_force(&none, Instant::now());
        hub
    }

    pub(crate) fn seats(&self) -> u32 {
        self.seats
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn levels(&self) -> Arc<Levels> {
        self.levels.load_full()
    }

    /// Returns the level of a flow, or the one for what has no other: configurations change between classifying and this.
    pub(crate) fn level_of(&self, flow: &Flow) -> Option<Arc<Level>> {
        let levels = self.levels.load();
        levels.by_name.get(&flow.level.name).or_else(|| levels.by_name.get(CATCH_ALL)).map(Arc::clone)
    }

    /// Returns the level for what has no other. Every configuration has it.
    pub(crate) fn catch_all(&self) -> Option<Arc<Level>> {
        self.levels.load().by_name.get(CATCH_ALL).map(Arc::clone)
    }

    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        flow.schema.name.hash(&mut hasher);
        flow.distinguisher.hash(&mut hasher);
        hasher.finish()
    }

    /// Takes a configuration into force; nothing happens when it is the same value.
    pub(crate) fn configure(&self, configuration: &Arc<Configuration>) {
        if Arc::ptr_eq(&self.in_force.load(), configuration) {
            return;
        }
        let now = Instant::now();
        self.take_into_force(configuration, now);
        self.share_out_pool(now);
    }

    /// Shares all seats out again: a level is gone.
    pub(crate) fn share_out_seats(&self, now: Instant) {
        self.take_into_force(&self.in_force.load_full(), now);
    }

    fn take_into_force(&self, configuration: &Arc<Configuration>, now: Instant) {
        let _one_at_a_time = lock(&self.configuring);
        let old = self.levels.load_full();
        let wanted = wanted(configuration);
        let draining = old.ordered.iter().filter(|level| !wanted.contains_key(level.name()));
        let draining: Vec<&Arc<Level>> = draining.filter(|level| !self.retired(level, now)).collect();
        // A level that drains keeps its shares until it is gone, or those who wait in it would get nothing.
        let mut configs: Vec<(Arc<configuration::Level>, bool)> =
            draining.iter().map(|level| (Arc::clone(level.state().config()), true)).collect();
        configs.extend(wanted.into_values().map(|config| (config, false)));
        configs.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let plain: Vec<&configuration::Level> = configs.iter().map(|(config, _)| config.as_ref()).collect();
        let limits = share_out(self.seats, &plain);
        let queues_max = queues_max(configs.len());
        let mut counted = counted(configuration);
        let mut levels = Levels::default();
        for ((config, is_quiescing), limits) in configs.iter().zip(limits) {
            let level = match old.by_name.get(&config.name) {
                Some(level) => Arc::clone(level),
                None => {
                    let meter = match old.ordered.len().max(levels.ordered.len()) < LEVELS_COUNTED_MAX {
                        true => self.metrics.level(&config.name),
                        false => self.uncounted.level(""),
                    };
                    Level::new(config, &self.pool, Weak::clone(&self.me), meter, &self.unlisted, now)
                }
            };
            level.configure(config, limits, queues_max, *is_quiescing, now);
            if !is_quiescing {
                self.configure_flows(&level, counted.remove(config.name.as_str()).unwrap_or_default());
            }
            levels.by_name.insert(config.name.clone(), Arc::clone(&level));
            levels.ordered.push(level);
        }
        self.levels.store(Arc::new(levels));
        self.in_force.store(Arc::clone(configuration));
    }

    /// Ends a level that is no longer configured, if it has nothing left to do.
    fn retired(&self, level: &Level, now: Instant) -> bool {
        let retired = level.retire(now);
        if retired {
            self.metrics.forget_level(level.name());
            for schema in level.flows().keys() {
                self.metrics.forget_flow(level.name(), schema);
            }
        }
        retired
    }

    /// Makes the handles of schemas that are new in a level, and takes out those that are gone.
    fn configure_flows(&self, level: &Level, schemas: Vec<&configuration::FlowSchema>) {
        let old = level.flows();
        let mut flows = HashMap::new();
        for schema in schemas {
            let meter = match old.get(&schema.name) {
                Some(meter) => Arc::clone(meter),
                None => Arc::new(self.metrics.flow(level.name(), &schema.name)),
            };
            flows.insert(schema.name.clone(), meter);
        }
        for gone in old.keys().filter(|schema| !flows.contains_key(*schema)) {
            self.metrics.forget_flow(level.name(), gone);
        }
        level.set_flows(flows);
    }

    /// Gives what the pool has to who has least. It ends: each turn takes seats from the pool, or finds that somebody left.
    pub(crate) fn share_out_pool(&self, now: Instant) {
        let _one_at_a_time = lock(&self.sharing);
        let levels = self.levels.load();
        loop {
            let hungry = levels.ordered.iter().filter(|level| level.appetite() != SATED);
            let Some(level) = hungry.min_by_key(|level| level.appetite()) else { break };
            if !level.serve_from_pool(now) {
                break;
            }
        }
    }

    /// Sees to what time alone changes: seats that lingered are free.
    pub(crate) fn tick(&self, now: Instant) {
        for level in self.levels.load().ordered() {
            level.tick(now);
        }
        if self.pool.has_drained() {
            self.share_out_seats(now);
        }
        self.share_out_pool(now);
    }

    /// Puts the figures of this moment right.
    pub(crate) fn measure(&self) {
        let now = Instant::now();
        self.tick(now);
        for level in self.levels.load().ordered() {
            level.measure(now);
        }
    }
}

/// The schemas that are counted apart, by their level.
fn counted(configuration: &Configuration) -> HashMap<&str, Vec<&configuration::FlowSchema>> {
    let mut by_level: HashMap<&str, Vec<_>> = HashMap::new();
    for schema in configuration.schemas.iter().take(SCHEMAS_COUNTED_MAX) {
        by_level.entry(schema.level.as_str()).or_default().push(schema.as_ref());
    }
    by_level
}

/// The levels of a configuration by name, with those that must always be.
fn wanted(configuration: &Configuration) -> BTreeMap<String, Arc<configuration::Level>> {
    let mandatory = [configuration::Level::mandatory_exempt(), configuration::Level::mandatory_catch_all()];
    let all = mandatory.into_iter().map(Arc::new).chain(configuration.levels.iter().map(Arc::clone));
    all.map(|level| (level.name.clone(), level)).collect()
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
