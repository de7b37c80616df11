//! The inputs and outputs that run, and how they are brought in line with a policy.
//!
//! [`Units::apply`] compares what runs with what should: units whose definition is the same go on undisturbed. An input
//! stops before its output does, so that an output can deliver what it has; an input whose output changes starts anew and
//! takes up its files where the acknowledgements ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{EventSender, Reporter, UnitState, UnitType, Variables};
use inputs::{BuildContext, InputContext, Registry};
use outputs::{OutputContext, OutputHandle, QueueCipher};
use protocol::{Component, Unit};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::Context;
use crate::fleet_server_component::{self, FleetServerSeat};
use crate::local_endpoint::Place;
use crate::model::{self, Model, ModelError, ModelInput};
use crate::sealed::Vault;
use crate::self_metrics;

/// How long an output may take to deliver what it has before it is replaced; what is left is kept.
const REPLACE_DEADLINE: Duration = Duration::from_secs(5);
const INPUT_STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Everything that runs under a policy.
#[derive(Debug)]
pub(crate) struct Units {
    context: Arc<Context>,
    build: BuildContext,
    registry: Arc<Registry>,
    variables: Variables,
    outputs: BTreeMap<String, RunningOutput>,
    inputs: BTreeMap<String, RunningInput>,
    changed: Arc<Notify>,
    watchers: TaskTracker,
    fleet_server: Option<FleetServerSeat>,
}

#[derive(Debug)]
struct RunningOutput {
    definition: Value,
    reporter: Reporter,
    /// `None` when it could not be made; the reporter says why.
    handle: Option<OutputHandle>,
    watch: CancellationToken,
}

#[derive(Debug)]
struct RunningInput {
    model: ModelInput,
    reporter: Reporter,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// How long its streams may go on after `stop`.
    time_to_finish: Duration,
}

impl Units {
    pub(crate) fn new(
        context: Arc<Context>,
        build: BuildContext,
        registry: Arc<Registry>,
        variables: Variables,
    ) -> Self {
        Self {
            context,
            build,
            registry,
            variables,
            outputs: BTreeMap::new(),
            inputs: BTreeMap::new(),
            changed: Arc::new(Notify::new()),
            watchers: TaskTracker::new(),
            fleet_server: None,
        }
    }

    /// Lets a Fleet Server run here when the policy has one.
    pub(crate) fn with_fleet_server(mut self, seat: Option<FleetServerSeat>) -> Self {
        self.fleet_server = seat;
        self
    }

    /// Told at each change of a unit's state.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// What should run under `policy`, without starting anything.
    pub(crate) fn plan(&self, policy: &Value) -> Result<Model, ModelError> {
        let logs = self.context.paths.log_files();
        if self.fleet_server.is_some() {
            let policy = fleet_server_component::with_server_input(policy);
            return model::model(&policy, &self.variables, logs.as_str());
        }
        model::model(policy, &self.variables, logs.as_str())
    }

    /// The outputs of `model` that would be new or different, and whether the one that runs under the name is healthy.
    pub(crate) fn outputs_to_try(&self, model: &Model) -> Vec<(String, Value, bool)> {
        let differs = |(name, definition): (&String, &Value)| {
            let running = self.outputs.get(name);
            if running.is_some_and(|running| running.definition == *definition) {
                return None;
            }
            let healthy = running.is_some_and(|running| running.reporter.current().state == UnitState::Healthy);
            Some((name.clone(), definition.clone(), healthy))
        };
        model.outputs.iter().filter_map(differs).collect()
    }

    /// Brings what runs in line with `model`.
    pub(crate) async fn apply(&mut self, model: Model) {
        let changed_outputs: Vec<String> = self
            .outputs
            .iter()
            .filter(|(name, running)| model.outputs.get(*name) != Some(&running.definition))
            .map(|(name, _)| name.clone())
            .collect();
        let wanted: BTreeMap<String, ModelInput> =
            model.inputs.into_iter().map(|input| (input.unit_id(), input)).collect();
        let stale: Vec<String> = self
            .inputs
            .iter()
            .filter(|(id, running)| {
                wanted.get(*id) != Some(&running.model) || changed_outputs.contains(&running.model.output)
            })
            .map(|(id, _)| id.clone())
            .collect();
        self.stop_inputs(&stale).await;
        self.stop_outputs(&changed_outputs, REPLACE_DEADLINE).await;
        for (name, definition) in model.outputs {
            if !self.outputs.contains_key(&name) {
                let running = self.start_output(&name, definition);
                self.outputs.insert(name, running);
            }
        }
        for (id, input) in wanted {
            if !self.inputs.contains_key(&id) {
                let running = self.start_input(input);
                self.inputs.insert(id, running);
            }
        }
        self.place_local_endpoint(model.local_endpoint);
        self.changed.notify_waiters();
    }

    /// The local file decides, where it says anything about the endpoint; else the policy.
    fn place_local_endpoint(&self, of_policy: Option<Place>) {
        let local = crate::standalone::read_config(&self.context.config_file).map(|(_, config)| config);
        let says = |config: &Value| config.pointer("/agent/monitoring/http").is_some();
        let place = match local {
            Ok(config) if says(&config) => Place::of(&config),
            _ => of_policy,
        };
        self.context.local_endpoint.send_if_modified(|current| {
            let moved = *current != place;
            *current = place;
            moved
        });
    }

    /// Stops everything; outputs may take until `deadline` to deliver what they have.
    pub(crate) async fn stop(&mut self, deadline: Duration) {
        let inputs: Vec<_> = self.inputs.keys().cloned().collect();
        self.stop_inputs(&inputs).await;
        let outputs: Vec<_> = self.outputs.keys().cloned().collect();
        self.stop_outputs(&outputs, deadline).await;
        self.watchers.close();
        self.watchers.wait().await;
        self.watchers.reopen();
    }

    /// All components with their units, as check-ins carry them.
    pub(crate) fn components(&self) -> Vec<Component> {
        let mut components: BTreeMap<String, Vec<&RunningInput>> = BTreeMap::new();
        for input in self.inputs.values() {
            components.entry(input.model.component()).or_default().push(input);
        }
        components
            .into_iter()
            .map(|(id, inputs)| self.component(id, &inputs))
            .collect()
    }

    /// What each output counted, for diagnostics and metrics.
    pub(crate) fn output_facts(&self) -> Value {
        let facts = |running: &RunningOutput| match &running.handle {
            None => json!({"running": false}),
            Some(handle) => {
                let (events, bytes) = handle.on_disk();
                json!({
                    "running": true,
                    "counters": handle.counters(),
                    "queue": {"memory": {"events": handle.queued()}, "disk": {"events": events, "bytes": bytes}},
                })
            }
        };
        self.outputs
            .iter()
            .map(|(name, running)| (name.clone(), facts(running)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// What the process uses, and what inputs and outputs have counted.
    pub(crate) fn stats(&self) -> Value {
        let mut facts = self_metrics::process_facts().unwrap_or_default();
        facts.insert("outputs".to_owned(), self.output_facts());
        let inputs = self
            .inputs
            .iter()
            .map(|(id, input)| (id.clone(), json!(input.reporter.counters())));
        facts.insert("inputs".to_owned(), Value::Object(inputs.collect()));
        facts.into()
    }

    fn component(&self, id: String, inputs: &[&RunningInput]) -> Component {
        let mut units: Vec<Unit> = inputs.iter().map(|input| input_unit(input)).collect();
        let kind = inputs.first().map(|input| input.model.kind.clone()).unwrap_or_default();
        let output = inputs.first().and_then(|input| self.outputs.get(&input.model.output));
        if let Some(output) = output {
            units.push(output_unit(&id, output));
        }
        let worst = units.iter().max_by_key(|unit| severity(&unit.status));
        let (status, message) = match worst {
            Some(unit) if severity(&unit.status) > 0 => (unit.status.clone(), unit.message.clone()),
            _ if inputs.len() == 1 => ("HEALTHY".to_owned(), "Healthy: 1 input".to_owned()),
            _ => ("HEALTHY".to_owned(), format!("Healthy: {} inputs", inputs.len())),
        };
        Component {
            id,
            component_type: kind,
            status,
            message,
            units: Some(units),
        }
    }

    fn start_output(&self, name: &str, definition: Value) -> RunningOutput {
        let reporter = Reporter::new(name, UnitType::Output);
        let watch = CancellationToken::new();
        self.watch(&reporter, watch.clone());
        let context = OutputContext {
            clock: Arc::clone(&self.context.clock),
            data_dir: self.context.paths.output(name),
            reporter: reporter.clone(),
            version: self.context.build.version.clone(),
            reloader: self.context.reloader.clone(),
            console: self.context.console.clone(),
            queue_cipher: self.queue_cipher(&definition),
        };
        let handle = match outputs::build(name, &definition, context) {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::error!(output = name, error = %error, "output cannot start");
                reporter.report(UnitState::Failed, error.to_string());
                None
            }
        };
        RunningOutput {
            definition,
            reporter,
            handle,
            watch,
        }
    }

    /// From the vault, which is opened only for outputs that ask for it.
    fn queue_cipher(&self, definition: &Value) -> Option<QueueCipher> {
        if !outputs::asks_for_encryption(definition) {
            return None;
        }
        match Vault::open_or_create(&self.context.paths.vault()) {
            Ok(vault) => Some(QueueCipher::new(&vault.derived_key("disk queue"))),
            Err(error) => {
                tracing::error!(%error, "no key for the disk queue");
                None
            }
        }
    }

    fn start_input(&self, model: ModelInput) -> RunningInput {
        let reporter = Reporter::new(model.unit_id(), UnitType::Input);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        self.watch(&reporter, stop.clone());
        if let Some(output) = &model.server_output {
            self.start_fleet_server(&model, output, &reporter, &stop, &tasks);
            tasks.close();
            return RunningInput {
                model,
                reporter,
                stop,
                tasks,
                time_to_finish: Duration::ZERO,
            };
        }
        let mut time_to_finish = Duration::ZERO;
        match self.lane(&model) {
            None => reporter.report(UnitState::Failed, format!("output `{}` does not run", model.output)),
            Some(events) if model.kind == self_metrics::INPUT_TYPE => {
                let agent = self.build.agent.clone();
                let clock = Arc::clone(&self.context.clock);
                let definition = model.definition.clone();
                tasks.spawn(self_metrics::run(
                    definition,
                    agent,
                    clock,
                    events,
                    reporter.clone(),
                    stop.clone(),
                ));
            }
            Some(events) => match inputs::build(&model.definition, &self.build) {
                Err(error) => {
                    tracing::error!(input = %model.id, error = %error, "input cannot start");
                    reporter.report(UnitState::Failed, error.to_string());
                }
                Ok(streams) => {
                    reporter.report(UnitState::Configuring, "Starting");
                    if streams.is_empty() {
                        reporter.report(UnitState::Healthy, "No streams");
                    }
                    for stream in streams {
                        let context = InputContext {
                            events: events.clone(),
                            reporter: reporter.clone(),
                            clock: Arc::clone(&self.context.clock),
                            registry: Arc::clone(&self.registry),
                            stop: stop.clone(),
                        };
                        time_to_finish = time_to_finish.max(stream.input.time_to_finish());
                        tasks.spawn(stream.input.run(context));
                    }
                }
            },
        }
        tasks.close();
        RunningInput {
            model,
            reporter,
            stop,
            tasks,
            time_to_finish,
        }
    }

    fn start_fleet_server(
        &self,
        model: &ModelInput,
        output: &Value,
        reporter: &Reporter,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let Some(seat) = &self.fleet_server else {
            let message =
                "the policy has a Fleet Server, and this agent was not enrolled to run one (--fleet-server-es)";
            reporter.report(UnitState::Failed, message);
            return;
        };
        let unit = seat.unit(&model.definition, output);
        let (component, reporter, stop) = (Arc::clone(&seat.component), reporter.clone(), stop.clone());
        reporter.report(UnitState::Configuring, "Starting");
        tasks.spawn(async move { component.run(unit, reporter, stop).await });
    }

    /// Files are their own queue; all other sources may overflow to disk.
    fn lane(&self, model: &ModelInput) -> Option<EventSender> {
        let handle = self.outputs.get(&model.output)?.handle.as_ref()?;
        let replayable = matches!(model.kind.as_str(), "filestream" | "logfile" | "log" | "journald");
        Some(if replayable {
            handle.replayable.clone()
        } else {
            handle.events.clone()
        })
    }

    async fn stop_inputs(&mut self, ids: &[String]) {
        let stopping: Vec<RunningInput> = ids.iter().filter_map(|id| self.inputs.remove(id)).collect();
        for input in &stopping {
            input.stop.cancel();
        }
        for input in stopping {
            if tokio::time::timeout(INPUT_STOP_DEADLINE + input.time_to_finish, input.tasks.wait())
                .await
                .is_err()
            {
                tracing::warn!(input = %input.model.id, "an input takes long to stop; going on without it");
            }
        }
    }

    async fn stop_outputs(&mut self, names: &[String], deadline: Duration) {
        let mut stopping = Vec::new();
        for name in names {
            let Some(output) = self.outputs.remove(name) else {
                continue;
            };
            output.watch.cancel();
            stopping.extend(output.handle.map(|handle| (name, handle)));
        }
        let stops = stopping.into_iter().map(|(name, handle)| async move {
            let outcome = handle.stop_and_wait(deadline).await;
            tracing::info!(output = %name, outcome = ?outcome, "output stopped");
        });
        futures_util::future::join_all(stops).await;
    }

    /// Passes a unit's changes on to [`Units::changed`].
    fn watch(&self, reporter: &Reporter, stop: CancellationToken) {
        let mut reports = reporter.subscribe();
        let changed = Arc::clone(&self.changed);
        self.watchers.spawn(stop.run_until_cancelled_owned(async move {
            while reports.changed().await.is_ok() {
                changed.notify_waiters();
            }
        }));
    }
}

fn input_unit(input: &RunningInput) -> Unit {
    let report = input.reporter.current();
    let payload = (!report.streams.is_empty()).then(|| json!({"streams": report.streams}));
    Unit {
        id: input.model.unit_id(),
        unit_type: "input".to_owned(),
        status: report.state.as_str().to_owned(),
        message: report.message,
        payload,
    }
}

fn output_unit(component: &str, output: &RunningOutput) -> Unit {
    let report = output.reporter.current();
    Unit {
        id: component.to_owned(),
        unit_type: "output".to_owned(),
        status: report.state.as_str().to_owned(),
        message: report.message,
        payload: None,
    }
}

/// 0 for what is well; starting and configuring count as well once the agent as a whole runs.
fn severity(status: &str) -> u8 {
    match status {
        "FAILED" => 3,
        "DEGRADED" => 2,
        "STOPPED" | "STOPPING" => 1,
        _ => 0,
    }
}
