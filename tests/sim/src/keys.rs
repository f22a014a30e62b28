//! What must be true of keys, kept apart from the state's own rows: plain maps that follow the accepted commands.

use std::collections::{BTreeMap, BTreeSet};

use kms::RotationCause;
use state::{Command, Outcome, Reply, State};
use types::{KeyId, KeyName, Millis, NamespaceName, Time};

/// A judgement: what is wrong, in words.
type Judged = Result<(), String>;

#[derive(Debug)]
struct KeyModel {
    id: KeyId,
    last: u32,
    primary: u32,
    /// When the newest version came into use: the period counts from here.
    newest: Time,
    period: Option<Millis>,
    /// A rotation may come this much sooner.
    jitter: Millis,
    waiting: Millis,
    /// Empty for those that were destroyed.
    wrapped: BTreeMap<u32, Vec<u8>>,
    destroyed: BTreeSet<u32>,
    /// As a whole.
    gone: bool,
    pre_active: BTreeSet<u32>,
    /// What waits for its end, and until when; none: the key as a whole.
    waits: BTreeMap<Option<u32>, Time>,
}

/// What is known beside the command when one is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) now: Time,
    /// The leader's clock, where that is later.
    pub(crate) reading: Time,
    pub(crate) after: &'a State,
    /// State time after the last step that was too large, while there was somebody to ask.
    pub(crate) stepped: Option<Time>,
    /// Nobody has confirmed it.
    pub(crate) unconfirmed: bool,
}

/// Every key that was ever made.
#[derive(Debug, Default)]
pub(crate) struct KeysModel {
    keys: BTreeMap<(NamespaceName, KeyName), KeyModel>,
    floors: BTreeMap<NamespaceName, Millis>,
    /// Namespaces that were closed, and until when they wait; none: they are gone.
    closed: BTreeMap<NamespaceName, Option<Time>>,
}

impl KeysModel {
    /// Versions strictly increase and are never reused (invariant 4); a schedule is served once when it is due; what waits for its end
    /// ends when it is due and not before, and can be taken back until then (invariant 9).
    pub(crate) fn follow(&mut self, command: &Command, moment: Moment<'_>) -> Judged {
        match command {
            Command::CreateNamespace { name, settings, .. } | Command::UpdateNamespace { name, settings } => {
                self.floors.insert(name.clone(), settings.waiting_period_floor);
                ensure!(!matches!(self.closed.get(name), Some(None)), "a destroyed namespace was changed");
            }
            Command::DestroyNamespace { .. }
            | Command::RestoreNamespace { .. }
            | Command::CarryOutNamespaceDestruction { .. } => return self.follow_namespace(command, moment),
            Command::CreateKey { .. } => return self.create(command, moment),
            Command::UpdateKey { namespace, name, change } => {
                let model = self.model(namespace, name)?;
                model.period = change.rotation_period.unwrap_or(model.period);
                model.jitter = change.rotation_jitter.unwrap_or(model.jitter);
                if model.period.is_none() {
                    model.jitter = Millis::ZERO;
                }
                model.waiting = change.waiting_period.unwrap_or(model.waiting);
            }
            Command::AddKeyVersion { namespace, name, cause, material, expect_last } => {
                self.open(namespace)?;
                let model = self.model(namespace, name)?;
                if *cause == RotationCause::Schedule {
                    check_schedule(model, moment)?;
                }
                model.make(*expect_last, material, moment, (namespace, name))?;
                (model.primary, model.newest) = (model.last, moment.now);
                check_primary(model, moment, (namespace, name))?;
            }
            Command::AddPreActiveVersion { namespace, name, material, expect_last } => {
                self.open(namespace)?;
                let model = self.model(namespace, name)?;
                model.make(*expect_last, material, moment, (namespace, name))?;
                model.pre_active.insert(model.last);
                let row = moment.after.key_version(&model.id, model.last).ok_or("a new version is not there")?;
                ensure!(row.usable().is_err(), "a pre-active version is used");
            }
            Command::ActivateVersion { namespace, name, version } => {
                self.open(namespace)?;
                let model = self.model(namespace, name)?;
                ensure!(model.pre_active.remove(version), "a version was activated that was not pre-active");
                ensure!(*version > model.primary, "the primary version went back");
                (model.primary, model.newest) = (*version, moment.now);
                check_primary(model, moment, (namespace, name))?;
            }
            Command::SetKeyEnabled { namespace, name, version, enabled } => {
                let model = self.model(namespace, name)?;
                ensure!(!enabled || !model.waits.contains_key(version), "what waits for its end was enabled");
                // Suspended before it was ever active, it is pre-active again.
                let number = version.unwrap_or_default();
                let used = moment.after.key_version(&model.id, number).is_some_and(|row| row.usable().is_ok());
                ensure!(!used || !model.pre_active.contains(&number), "a version is used that was never activated");
            }
            Command::DestroyKey { .. } | Command::RestoreKey { .. } | Command::CarryOutDestruction { .. } => {
                return self.follow_end(command, moment);
            }
            _ => {}
        }
        Ok(())
    }

    fn create(&mut self, command: &Command, moment: Moment<'_>) -> Judged {
        let Command::CreateKey { namespace, name, id, settings, material, .. } = command else { return Ok(()) };
        self.open(namespace)?;
        ensure!(!self.keys.values().any(|key| key.id == *id), "a key id was used twice");
        let row = moment.after.key_version(id, 1).ok_or("a new key without a version")?;
        ensure!(row.public == material.public, "a public half was lost");
        let waiting = moment.after.key(namespace, name).ok_or("a new key is not there")?.waiting_period;
        ensure!(
            settings.waiting_period.is_none_or(|asked| asked == waiting),
            "another waiting period than was asked for"
        );
        let model = KeyModel {
            id: *id,
            last: 1,
            primary: 1,
            newest: moment.now,
            period: settings.rotation_period,
            jitter: settings.rotation_jitter,
            waiting,
            wrapped: BTreeMap::from([(1, material.wrapped.clone())]),
            destroyed: BTreeSet::new(),
            gone: false,
            pre_active: BTreeSet::new(),
            waits: BTreeMap::new(),
        };
        let old = self.keys.insert((namespace.clone(), name.clone()), model);
        ensure!(old.is_none(), "a key was made over another");
        Ok(())
    }

    fn follow_end(&mut self, command: &Command, moment: Moment<'_>) -> Judged {
        let floors = self.floors.clone();
        match command {
            Command::DestroyKey { namespace, name, version, .. } => {
                let floor = floors.get(namespace).copied().unwrap_or(types::limits::WAITING_PERIOD_FLOOR_DEFAULT);
                let model = self.model(namespace, name)?;
                let due = moment.reading.after(model.waiting.max(floor));
                if model.waits.contains_key(version) || (version.is_none() && model.gone) {
                    return Ok(());
                }
                if due == moment.reading {
                    model.end(*version);
                } else {
                    model.waits.insert(*version, due);
                }
            }
            Command::RestoreKey { namespace, name, version } => {
                let model = self.model(namespace, name)?;
                ensure!(model.waits.remove(version).is_some(), "something was restored that did not wait");
                let kept = version.is_none_or(|number| model.wrapped.get(&number).is_some_and(|row| !row.is_empty()));
                ensure!(kept, "a version was restored that was destroyed");
            }
            Command::CarryOutDestruction { namespace, name, version } => {
                check_sure(moment)?;
                let model = self.model(namespace, name)?;
                let due = model.waits.remove(version);
                ensure!(due.is_some_and(|due| due <= moment.now), "destroyed at {:?}, due {due:?}", moment.now);
                let key = moment.after.key(namespace, name).ok_or("a key is lost")?;
                ensure!(!key.deletion_protection, "destroyed although it is protected");
                model.end(*version);
            }
            _ => {}
        }
        Ok(())
    }

    fn follow_namespace(&mut self, command: &Command, moment: Moment<'_>) -> Judged {
        match command {
            Command::DestroyNamespace { name, .. } => {
                let row = moment.after.namespace(name).ok_or("a namespace is lost")?;
                let due = match row.life {
                    state::rows::NamespaceLife::DestroyScheduled(scheduled) => Some(scheduled.due),
                    _ => None,
                };
                let floor = row.settings.waiting_period_floor;
                let before = self.closed.get(name).copied().flatten();
                let kept = before.is_some_and(|before| due == Some(before));
                ensure!(
                    kept || due.map_or(floor == Millis::ZERO, |due| due >= moment.reading.after(floor)),
                    "a namespace goes sooner than its floor"
                );
                self.closed.insert(name.clone(), due);
            }
            Command::RestoreNamespace { name } => {
                let was = self.closed.remove(name);
                ensure!(matches!(was, Some(Some(_))), "a namespace was restored that did not wait: {was:?}");
            }
            Command::CarryOutNamespaceDestruction { name } => {
                check_sure(moment)?;
                let due = self.closed.insert(name.clone(), None).flatten();
                ensure!(due.is_some_and(|due| due <= moment.now), "destroyed at {:?}, due {due:?}", moment.now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing that was ever made is lost or changed, and what was destroyed stays destroyed.
    pub(crate) fn check_whole(&self, state: &State) -> Judged {
        for ((namespace, name), model) in &self.keys {
            let key = state.key(namespace, name).ok_or_else(|| format!("key {namespace}/{name} is lost"))?;
            ensure!(key.id == model.id && key.last_version == model.last, "key {name} is not what was made");
            ensure!(key.primary == model.primary, "v{} of {name} is not the primary one", model.primary);
            for (number, wrapped) in &model.wrapped {
                let version = state.key_version(&key.id, *number);
                ensure!(
                    version.is_some_and(|row| row.wrapped == *wrapped),
                    "version {number} of {name} is lost or changed"
                );
            }
            let listed = state.key_versions(&key.id, None, usize::MAX).items;
            ensure!(listed.len() == model.wrapped.len(), "key {name} has versions that nobody made");
            // Destroyed stays destroyed (invariant 9).
            for number in &model.destroyed {
                let row = state.key_version(&key.id, *number).ok_or("a tombstone is lost")?;
                ensure!(row.usable().is_err() && row.wrapped.is_empty(), "version {number} of {name} came back");
                ensure!(state.receipt(row.revision).is_some(), "a destruction without a receipt");
            }
            for waits in model.waits.keys() {
                let used = match waits {
                    None => key.usable().is_ok(),
                    Some(number) => state.key_version(&key.id, *number).is_some_and(|row| row.usable().is_ok()),
                };
                ensure!(!used, "{waits:?} of {name} waits for its end and is used");
            }
        }
        for (name, until) in &self.closed {
            ensure!(state.check_open(name).is_err(), "{name} is closed and used");
            let kept = state.namespace(name).is_some_and(|row| !row.kek_wrapped.is_empty());
            ensure!(kept == until.is_some(), "{name}: its key is there: {kept}, it waits until {until:?}");
            ensure!(kept != state.receipt_of_namespace(name).is_some(), "{name}: a destruction without a receipt");
        }
        let listed: usize = state.namespaces().map(|(ns, _)| state.keys(ns, None, usize::MAX).items.len()).sum();
        ensure!(listed == self.keys.len(), "{listed} keys are listed, {} were made", self.keys.len());
        Ok(())
    }

    fn model(&mut self, namespace: &NamespaceName, name: &KeyName) -> Result<&mut KeyModel, String> {
        let destroyed = matches!(self.closed.get(namespace), Some(None));
        ensure!(!destroyed, "a key of a destroyed namespace was changed");
        let model = self.keys.get_mut(&(namespace.clone(), name.clone()));
        model.ok_or_else(|| "a key that nobody made".to_owned())
    }

    fn open(&self, namespace: &NamespaceName) -> Judged {
        ensure!(!self.closed.contains_key(namespace), "something was made in a closed namespace");
        Ok(())
    }
}

impl KeyModel {
    fn make(
        &mut self,
        expect_last: u32,
        material: &kms::WrappedMaterial,
        moment: Moment<'_>,
        (namespace, name): (&NamespaceName, &KeyName),
    ) -> Judged {
        ensure!(expect_last == self.last, "a version was made on a wrong expectation");
        self.last += 1;
        ensure!(moment.outcome.reply == Ok(Reply::Version(self.last)), "version {} was to be made", self.last);
        let old = self.wrapped.insert(self.last, material.wrapped.clone());
        ensure!(old.is_none(), "a version was made twice");
        let key = moment.after.key(namespace, name).ok_or("a rotated key is not there")?;
        let row = moment.after.key_version(&key.id, self.last).ok_or("a new version is not there")?;
        ensure!(row.public == material.public, "a public half was lost");
        ensure!(row.public.is_empty() != key.algorithm.key_type().is_some(), "a public half too many or few");
        ensure!(key.last_version == self.last, "the new version is not the last");
        Ok(())
    }

    fn end(&mut self, version: Option<u32>) {
        for (number, wrapped) in
            self.wrapped.iter_mut().filter(|(number, _)| version.is_none_or(|only| only == **number))
        {
            wrapped.clear();
            self.destroyed.insert(*number);
            self.waits.remove(&Some(*number));
            self.pre_active.remove(number);
        }
        self.gone |= version.is_none();
        self.waits.remove(&version);
    }
}

fn check_schedule(model: &KeyModel, moment: Moment<'_>) -> Judged {
    let Moment { now, stepped, .. } = moment;
    let confirmed = stepped.is_none_or(|stepped| now.since(stepped) >= Millis::from_secs(600));
    ensure!(confirmed, "rotated by schedule at {now:?}, a moment after a step to {stepped:?}");
    let due = model.period.map(|period| model.newest.after(Millis(period.0 - model.jitter.0)));
    ensure!(due.is_some_and(|due| due <= now), "rotated by schedule at {now:?}, due {due:?}");
    Ok(())
}

fn check_sure(moment: Moment<'_>) -> Judged {
    let Moment { now, stepped, unconfirmed, .. } = moment;
    let held = stepped.is_some_and(|stepped| now.since(stepped) < Millis::from_secs(600));
    ensure!(!held && !unconfirmed, "destroyed at {now:?}, after a step to {stepped:?} that nobody has confirmed");
    Ok(())
}

fn check_primary(model: &KeyModel, moment: Moment<'_>, (namespace, name): (&NamespaceName, &KeyName)) -> Judged {
    let key = moment.after.key(namespace, name).ok_or("a rotated key is not there")?;
    ensure!(key.primary == model.primary, "the new version is not primary");
    ensure!(!key.is_due(moment.now), "rotated and due again at once");
    Ok(())
}
