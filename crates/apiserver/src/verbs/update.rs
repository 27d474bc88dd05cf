//! PUT, and the part of a patch that comes after patching: compare with what is stored, put back what may not change, validate, commit.

use bytes::Bytes;
use http::StatusCode;
use portcullis_gate::Verb;
use portcullis_kinds::vocabulary::gates;
use portcullis_model::schema::FieldValidation;
use portcullis_model::status::{FieldError, Reason, Status};
use portcullis_model::tree::{Scalar, Tree};
use portcullis_store::{CommitError, Operation, Refusal, Snapshot};

use super::create::{CREATE_ATTEMPTS_MAX, check_namespace_matches, create_object};
use super::input::{self, Expected};
use super::options::{self, WriteOptions};
use super::turns;
use crate::admission::{Alongside, Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, ObjectAnswer, unreadable};
use crate::negotiate;
use crate::registry::metadata::{Metadata, metadata_of};
use crate::registry::owners::{self, When};
use crate::registry::prepare::{self, Door};
use crate::registry::{Served, managed, validate};
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};
use crate::services;

/// How often a write that names no version is tried again when another came first. The second and later attempts have the turn at the
/// object, so that they are only lost to first attempts of others; who loses all is told that the object was modified, as if it had named
/// a version: every client knows to read again then. Upstream tries without an end, so there are many.
const ATTEMPTS_MAX: usize = 64;

/// What is stored now.
pub struct Old {
    /// The object, in the served version, without type head and version.
    pub tree: Tree,
    /// Its version.
    pub version: u64,
    /// Its text as stored.
    pub value: Bytes,
}

/// A subresource that shows some of an object in a type of its own, which then is what is admitted (`scale`).
pub trait Projection: Sync {
    /// What the subresource shows of an object of this version.
    ///
    /// # Errors
    /// When it cannot be made of what is stored.
    fn of(&self, object: &Tree, version: u64) -> Result<Tree, Failure>;

    /// The object as it was, with what is wanted of it, and with the managers that it has then.
    ///
    /// # Errors
    /// What is wrong with what is wanted.
    fn onto(&self, old: &Old, wanted: &Tree) -> Result<Tree, Failure>;
}

/// Answers a PUT of an object or of its status.
pub async fn update(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("UpdateOptions", request.query)?;
    let expected = Expected::of(request.served);
    let mut tree = input::receive(request, expected, format, options.field_validation)?;
    check_name(request.served, &tree, request.path_name())?;
    check_namespace_matches(request.served, &tree, request.namespace())?;
    request.served.default(&mut tree);
    managed::note_reset(request.served, &mut tree, &request.body);
    owners::merge_duplicates(request, &mut tree, When::Given);
    let uid = Metadata::of(request.served, &tree).uid().to_owned();
    let request: &Request<'_> = request;
    // Another write came first, which is rare enough to read the body once more rather than copy it each time.
    let again = || -> Result<Tree, Failure> {
        let body = request.body.clone();
        let mut tree = input::decode(expected, format, body, FieldValidation::Ignore, &mut Vec::new())?;
        request.served.default(&mut tree);
        managed::note_reset(request.served, &mut tree, &request.body);
        owners::merge_duplicates(request, &mut tree, When::Given);
        Ok(tree)
    };
    let mut given = Some(tree);
    let mut attempts_left = CREATE_ATTEMPTS_MAX;
    loop {
        let mut make = |_: &Old| given.take().map_or_else(&again, Ok);
        if let Some(answer) = replace(server, request, &options, &mut make, None).await? {
            return Ok(answer);
        }
        if !uid.is_empty() {
            return Err(another(request, &uid, ""));
        }
        if !request.served.rules.put_creates || !request.info.subresource.is_empty() {
            return Err(missing(request));
        }
        let tree = given.take().map_or_else(&again, Ok)?;
        attempts_left -= 1;
        match create_object(server, request, tree, &options).await {
            // Another made it in between: that one is replaced.
            Err(status) if status.reason == Reason::AlreadyExists && attempts_left > 0 => {}
            outcome => return outcome,
        }
    }
}

/// The uid of the body is not that of the object that is there; none when there is no object.
fn another(request: &Request<'_>, given: &str, held: &str) -> Failure {
    let served = request.served;
    let key = served.key(request.namespace(), request.path_name()).unwrap_or_default();
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {given}, UID in object meta: {held}"
    );
    Box::new(Status::conflict(served.resource.group, served.resource.name, request.path_name(), &why))
}

/// The object is not there.
pub fn missing(request: &Request<'_>) -> Failure {
    let resource = request.served.resource;
    Box::new(Status::not_found(resource.group, resource.name, request.path_name()))
}

/// The body must name the object that the path names.
pub fn check_name(served: &Served, tree: &Tree, name: &str) -> Result<(), Failure> {
    let given = Metadata::of(served, tree).name();
    if given == name {
        return Ok(());
    }
    Err(Box::new(Status::bad_request(if given.is_empty() {
        format!("the name of the object ({name} based on URL) was undeterminable: name must be provided")
    } else {
        format!("the name of the object ({given}) does not match the name on the URL ({name})")
    })))
}

/// Replaces what is stored by what `make` makes of it; nothing when nothing is stored. Tries again when another write came first,
/// which a write that names a version then finds out. An object that is too large only with its managers loses them (upstream likewise).
/// With a projection, `make` gives what is wanted in the projection's type.
pub async fn replace(
    server: &ApiServer,
    request: &Request<'_>,
    options: &WriteOptions,
    make: &mut (dyn FnMut(&Old) -> Result<Tree, Failure> + Send),
    projection: Option<&dyn Projection>,
) -> Result<Option<Answer>, Failure> {
    let served = request.served;
    let Some(key) = served.key(request.namespace(), request.path_name()) else { return Ok(None) };
    let admits = server.admission.concerns(served, Admitted::Update, request.permitted.identity());
    let (mut turn, mut keeps_managers) = (None, true);
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = server.newest().await?;
        let Some(entry) = snapshot.get(&key) else { return Ok(None) };
        let tree = served.load(&entry.value).map_err(unreadable)?;
        let old = Old { tree, version: entry.version, value: entry.value.clone() };
        let alongside = Alongside::default();
        let change = Change { server, request, options, snapshot: &snapshot, old: &old, admits, alongside: &alongside };
        let mut tree = match projection {
            None => change.settle(make(&old)?).await?,
            Some(projection) => change.settle_projected(make(&old)?, projection).await?,
        };
        let is_gone = prepare::deletion_is_complete(served, &tree);
        if !keeps_managers {
            drop_managers(served, &mut tree);
        }
        let value = served.store(&mut tree).map_err(unreadable)?;
        let is_same = value == old.value
            || options.applies && managed::only_times_differ(served, (&tree, &value), (&old.tree, &old.value));
        if is_same && !is_gone {
            return answer(served, &old.value, old.version).map(Some);
        }
        if options.dry_run {
            return answer(served, &value, old.version).map(Some);
        }
        let operation = if is_gone {
            Operation::delete(key.as_str(), old.version)
        } else {
            Operation::update(key.as_str(), old.version, value.clone())
        };
        if is_gone && let Some(released) = services::release(server, served, &snapshot, &old.tree)? {
            alongside.allot(released);
        }
        let committed = alongside.commit(server, operation).await?;
        // What plugins hold ends with the attempt: whoever waits for its turn at the object must not keep others from theirs.
        drop(alongside);
        match committed {
            Ok(committed) => return answer(served, &value, committed.revision).map(Some),
            Err(CommitError::Conflict { .. }) if turn.is_none() => turn = turns::take(&key).await,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) if keeps_managers && is_too_large(&error) => keeps_managers = false,
            Err(error) => return Err(commit_failure(error)),
        }
    }
    Err(Box::new(Status::modified(served.resource.group, served.resource.name, request.path_name())))
}

/// One attempt to replace an object: between what the client wants and what is stored.
struct Change<'a> {
    server: &'a ApiServer,
    request: &'a Request<'a>,
    options: &'a WriteOptions,
    snapshot: &'a Snapshot,
    old: &'a Old,
    /// Whether any plugin has a say.
    admits: bool,
    alongside: &'a Alongside,
}

impl Change<'_> {
    /// Admits the object, puts back what may not change, and validates.
    async fn settle(&self, mut tree: Tree) -> Result<Tree, Failure> {
        self.account(&mut tree);
        if self.admits {
            self.server.admission.admit(&mut self.attempt(&mut tree, &self.old.tree)).await?;
        }
        owners::merge_duplicates(self.request, &mut tree, When::Admitted);
        self.prepare(&mut tree)?;
        if self.admits {
            self.server.admission.validate(&self.attempt(&mut tree, &self.old.tree)).await?;
        }
        Ok(tree)
    }

    /// As `settle`, where what is admitted is not the object itself.
    async fn settle_projected(&self, mut wanted: Tree, projection: &dyn Projection) -> Result<Tree, Failure> {
        if !self.admits {
            let mut tree = projection.onto(self.old, &wanted)?;
            self.prepare(&mut tree)?;
            return Ok(tree);
        }
        let old = projection.of(&self.old.tree, self.old.version)?;
        self.server.admission.admit(&mut self.attempt(&mut wanted, &old)).await?;
        let mut tree = projection.onto(self.old, &wanted)?;
        self.prepare(&mut tree)?;
        self.server.admission.validate(&self.attempt(&mut wanted, &old)).await?;
        Ok(tree)
    }

    fn account(&self, tree: &mut Tree) {
        if self.options.applies {
            return;
        }
        let now = self.server.now_seconds();
        let manager = &self.options.field_manager;
        managed::account(&self.server.registry, self.request, manager, tree, Some(&self.old.tree), now);
    }

    fn prepare(&self, tree: &mut Tree) -> Result<(), Failure> {
        let (served, old) = (self.request.served, &self.old.tree);
        check_preconditions(self.request, tree, self.old)?;
        let subresource = self.request.info.subresource;
        if subresource.is_empty() {
            let service = (&mut *tree, old, self.request.namespace());
            let dry_run = self.options.dry_run;
            services::begin_update(self.server, served, self.snapshot, service, dry_run, self.alongside)?;
        }
        gates::drop_disabled(tree, Some(old));
        prepare::keep_status(served, tree, old, Door::of(subresource));
        if let Some(strategy) = served.strategy {
            (strategy.prepare_update)(tree, old, subresource, self.server.now_seconds());
        }
        prepare::for_update(served, tree, old, Door::of(subresource));
        validate::on_update(served, tree, old, subresource)?;
        if let Some(strategy) = served.strategy {
            self.request.warn_all(|warnings| (strategy.warn_update)(tree, old, subresource, warnings));
        }
        Ok(())
    }

    fn attempt<'a>(&'a self, object: &'a mut Tree, old: &'a Tree) -> Attempt<'a> {
        Attempt {
            server: self.server,
            request: self.request,
            operation: Admitted::Update,
            name: self.request.path_name(),
            object: Some(object),
            old: Some(old),
            snapshot: self.snapshot,
            dry_run: self.options.dry_run,
            alongside: Some(self.alongside),
        }
    }
}

/// Whether a commit was refused for the size of what it writes.
pub fn is_too_large(error: &CommitError) -> bool {
    matches!(error, CommitError::Refused(Refusal::ValueTooLarge { .. } | Refusal::CommitTooLarge { .. }))
}

/// Forgets who set what, and says whether there was anything to forget.
pub fn drop_managers(served: &Served, tree: &mut Tree) -> bool {
    let metadata = metadata_of(served, tree);
    let had_any = tree.field(metadata, served.meta.managed_fields).is_some();
    tree.remove(metadata, served.meta.managed_fields);
    had_any
}

fn answer(served: &Served, value: &Bytes, version: u64) -> Result<Answer, Failure> {
    let text = served.serve(value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version, code: StatusCode::OK }))
}

/// A uid or version in the body says which object, or which state of it, is to be replaced.
fn check_preconditions(request: &Request<'_>, tree: &Tree, old: &Old) -> Result<(), Failure> {
    let served = request.served;
    let (group, resource, name) = (served.resource.group, served.resource.name, request.path_name());
    let (given, held) = (Metadata::of(served, tree), Metadata::of(served, &old.tree));
    // Who patches names none that way: another uid in the outcome is a field that may not change.
    if request.info.verb == Verb::Update && !given.uid().is_empty() && given.uid() != held.uid() {
        return Err(another(request, given.uid(), held.uid()));
    }
    match options::resource_version(given.resource_version())? {
        None | Some(0) if served.rules.needs_version => {
            let error = FieldError::invalid("metadata.resourceVersion", 0i64, "must be specified for an update");
            // Upstream names the resource here, where all other complaints name the kind.
            Err(Box::new(Status::invalid(group, resource, name, &[error])))
        }
        None | Some(0) => Ok(()),
        Some(version) if version == old.version => Ok(()),
        Some(_) => Err(Box::new(Status::modified(group, resource, name))),
    }
}

/// Writes the version into an object, as clients see it.
pub fn set_version(served: &Served, tree: &mut Tree, version: u64) {
    let metadata = metadata_of(served, tree);
    tree.set(metadata, served.meta.resource_version, Scalar::String(itoa::Buffer::new().format(version)));
}
