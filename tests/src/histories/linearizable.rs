//! The general judge: is there an order of all operations on one object, each of them at one instant between its question and its
//! answer, in which one store without faults gives these answers? A write without an answer happens at any instant after its question,
//! or never. The search is that of Wing and Gong with Lowe's memory of what was tried.
//!
//! Versions are names to it and nothing more: whether they grow, [`super::order`] judges. A list is a read of each object of its scope.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::VIOLATIONS_MAX;
use super::record::{Asked, Guard, Held, History, Operation, Reading, Told, is_within};

/// Steps of the search on one object before it gives up, which is told as a violation.
const STEPS_MAX: usize = 3_000_000;

/// Everything that is wrong with a history, in words.
pub fn violations(history: &History) -> Vec<String> {
    let mut subjects: BTreeMap<&str, Vec<Item>> = BTreeMap::new();
    for operation in &history.operations {
        if !matches!(operation.asked, Asked::List(_)) {
            subjects.entry(&operation.subject).or_default();
        }
    }
    let mut names = Names::default();
    for operation in &history.operations {
        match &operation.told {
            Told::Listed(_, items) if operation.asked != Asked::List(Reading::Any) => {
                for (key, list) in subjects.iter_mut().filter(|(key, _)| is_within(key, &operation.subject)) {
                    let seen = items.get(*key).map(|held| names.cell(held));
                    list.push(Item::new(operation, Act::Seen(seen)));
                }
            }
            _ => {
                if let Some(act) = names.act(operation) {
                    subjects.entry(&operation.subject).or_default().push(Item::new(operation, act));
                }
            }
        }
    }
    let judged = subjects.into_iter().filter_map(|(key, items)| Search::new(items).run().err().map(|why| (key, why)));
    judged.map(|(key, why)| format!("not linearizable: {key}: {why}")).take(VIOLATIONS_MAX).collect()
}

/// What is there; a part that nobody was told is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cell {
    value: u32,
    uid: Option<u32>,
    version: Option<u64>,
}

type State = Option<Cell>;

impl Cell {
    /// What is there is this, if it can be: what was unknown is known then.
    fn bound(self, seen: Self) -> Option<Self> {
        let agrees = self.value == seen.value
            && self.uid.is_none_or(|uid| Some(uid) == seen.uid)
            && self.version.is_none_or(|version| Some(version) == seen.version);
        agrees.then_some(seen)
    }
}

/// A guard over names.
#[derive(Clone, Copy, Debug)]
enum Must {
    BeAbsent,
    BePresent,
    HaveVersion(u64),
    HaveValue(u32),
    HaveUid(u32),
}

impl Must {
    /// Whether it may hold.
    fn may_hold(self, state: State) -> bool {
        match (self, state) {
            (Self::BeAbsent, state) => state.is_none(),
            (_, None) => false,
            (Self::BePresent, Some(_)) => true,
            (Self::HaveVersion(version), Some(cell)) => cell.version.is_none_or(|held| held == version),
            (Self::HaveValue(value), Some(cell)) => cell.value == value,
            (Self::HaveUid(uid), Some(cell)) => cell.uid.is_none_or(|held| held == uid),
        }
    }

    /// Whether it may fail of what is there.
    fn may_fail(self, state: State) -> bool {
        match (self, state) {
            (Self::BeAbsent, state) => state.is_some(),
            (_, None) | (Self::BePresent, Some(_)) => false,
            (Self::HaveVersion(version), Some(cell)) => cell.version != Some(version),
            (Self::HaveValue(value), Some(cell)) => cell.value != value,
            (Self::HaveUid(uid), Some(cell)) => cell.uid != Some(uid),
        }
    }
}

/// What an operation does, or saw.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// This was there.
    Seen(State),
    /// Something was there of which the guard did not hold.
    Unmet(Must),
    /// It was made this.
    Put(Must, Cell),
    /// It was removed; of this uid, if that was told.
    Removed(Must, Option<u32>),
}

impl Act {
    fn is_observation(self) -> bool {
        matches!(self, Self::Seen(_) | Self::Unmet(_))
    }

    /// The state after it, if it can happen in this one.
    fn apply(self, state: State) -> Option<State> {
        match self {
            Self::Seen(None) => state.is_none().then_some(None),
            Self::Seen(Some(seen)) => state?.bound(seen).map(Some),
            Self::Unmet(must) => must.may_fail(state).then_some(state),
            Self::Put(must, _) if !must.may_hold(state) => None,
            Self::Put(_, new) => {
                // An update leaves the uid as it is.
                let held = state.and_then(|cell| cell.uid);
                let differ = held.zip(new.uid).is_some_and(|(held, told)| held != told);
                (!differ).then_some(Some(Cell { uid: new.uid.or(held), ..new }))
            }
            Self::Removed(must, uid) => {
                let differ = state?.uid.zip(uid).is_some_and(|(held, told)| held != told);
                (must.may_hold(state) && !differ).then_some(None)
            }
        }
    }
}

/// Texts as numbers.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn of(&mut self, text: &str) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(text.to_owned()).or_insert(next)
    }

    fn cell(&mut self, held: &Held) -> Cell {
        Cell { value: self.of(&held.value), uid: Some(self.of(&held.uid)), version: Some(held.version) }
    }

    fn must(&mut self, guard: &Guard) -> Must {
        match guard {
            Guard::Absent => Must::BeAbsent,
            Guard::Present => Must::BePresent,
            Guard::Version(version) => Must::HaveVersion(*version),
            Guard::Value(value) => Must::HaveValue(self.of(value)),
            Guard::Uid(uid) => Must::HaveUid(self.of(uid)),
        }
    }

    /// Nothing for what says nothing: refusals, and reads without an answer.
    fn act(&mut self, operation: &Operation) -> Option<Act> {
        Some(match (&operation.asked, &operation.told) {
            (_, Told::Refused(_)) | (Asked::Get | Asked::List(_), Told::Unknown(_)) => return None,
            (_, Told::Missing) => Act::Seen(None),
            (Asked::Get, Told::Held(held)) => Act::Seen(Some(self.cell(held))),
            (Asked::Put(_, guard) | Asked::Delete(guard), Told::Unmet) => Act::Unmet(self.must(guard)),
            (Asked::Put(_, guard), Told::Held(held)) => Act::Put(self.must(guard), self.cell(held)),
            (Asked::Put(value, guard), Told::Unknown(_)) => {
                Act::Put(self.must(guard), Cell { value: self.of(value), uid: None, version: None })
            }
            (Asked::Delete(guard), Told::Removed(uid)) => Act::Removed(self.must(guard), Some(self.of(uid))),
            (Asked::Delete(guard), Told::Unknown(_)) => Act::Removed(self.must(guard), None),
            // No client takes such an answer.
            _ => return None,
        })
    }
}

struct Item {
    invoked: u64,
    /// The end of time for what has no answer.
    done: u64,
    act: Act,
    /// Where it probably belongs. Good guesses make the search short, bad ones make it long, none makes it wrong.
    place: u64,
    told: String,
}

impl Item {
    fn new(operation: &Operation, act: Act) -> Self {
        Self { invoked: operation.invoked, done: operation.done(), act, place: u64::MAX, told: operation.to_string() }
    }
}

/// One choice of the search, and what followed from it.
struct Frame {
    /// What is in the order since this choice.
    placed: Vec<usize>,
    state: State,
    /// What can be next, the best guess last.
    candidates: Vec<usize>,
    /// The state before the choice, if that was a write without an answer and nothing has seen it yet.
    unseen_since: Option<State>,
}

struct Search {
    /// Those with an answer first; each sort in the order of its questions.
    items: Vec<Item>,
    answered: usize,
    is_placed: Vec<bool>,
    left: usize,
    tried: HashSet<(Vec<u64>, State)>,
    steps: usize,
    /// How many were left at best, and what could not be placed then.
    stuck: (usize, String),
}

impl Search {
    fn new(mut items: Vec<Item>) -> Self {
        guess(&mut items);
        items.sort_by_key(|item| (item.done == u64::MAX, item.invoked));
        let answered = items.iter().filter(|item| item.done != u64::MAX).count();
        let is_placed = vec![false; items.len()];
        let stuck = (usize::MAX, String::new());
        Self { items, answered, is_placed, left: answered, tried: HashSet::new(), steps: 0, stuck }
    }

    fn run(mut self) -> Result<(), String> {
        let mut frames: Vec<Frame> = self.enter(None, None).into_iter().collect();
        loop {
            if self.left == 0 {
                return Ok(());
            }
            let Some(frame) = frames.last_mut() else {
                let (left, told) = self.stuck;
                return Err(format!("no order explains it; at best {left} are left over, the first of them is {told}"));
            };
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(format!("undecided after {STEPS_MAX} steps, at {}", self.stuck.1));
            }
            match frame.candidates.pop() {
                Some(next) => {
                    let state = frame.state;
                    frames.extend(self.enter(Some(next), state));
                }
                None => {
                    let placed = frames.pop().map(|frame| frame.placed).unwrap_or_default();
                    self.take_back(placed);
                }
            }
        }
    }

    /// Places an item and everything that only looks and can be placed then. Nothing if that was tried before.
    fn enter(&mut self, chosen: Option<usize>, before: State) -> Option<Frame> {
        let mut state = before;
        let mut placed = Vec::new();
        if let Some(chosen) = chosen {
            state = self.items[chosen].act.apply(before)?;
            self.place(chosen, &mut placed);
        }
        let settled_from = placed.len();
        while let Some((next, after)) = self.observation(state) {
            state = after;
            self.place(next, &mut placed);
        }
        if self.left > 0 && !self.tried.insert((self.bits(), state)) {
            self.take_back(placed);
            return None;
        }
        let unseen_since = chosen.filter(|chosen| *chosen >= self.answered && placed.len() == settled_from);
        let mut frame = Frame { placed, state, candidates: Vec::new(), unseen_since: unseen_since.map(|_| before) };
        frame.candidates = self.candidates(&frame);
        Some(frame)
    }

    fn place(&mut self, item: usize, placed: &mut Vec<usize>) {
        self.is_placed[item] = true;
        self.left -= usize::from(item < self.answered);
        placed.push(item);
    }

    fn take_back(&mut self, placed: Vec<usize>) {
        for item in placed {
            self.is_placed[item] = false;
            self.left += usize::from(item < self.answered);
        }
    }

    fn bits(&self) -> Vec<u64> {
        let word = |part: &[bool]| part.iter().rev().fold(0, |word, bit| word << 1 | u64::from(*bit));
        self.is_placed.chunks(64).map(word).collect()
    }

    /// The earliest answer that is still to be placed: nothing that was asked for after it comes before it.
    fn deadline(&self) -> u64 {
        let mut deadline = u64::MAX;
        for (item, is_placed) in self.items[..self.answered].iter().zip(&self.is_placed) {
            if item.invoked > deadline {
                break;
            }
            if !is_placed {
                deadline = deadline.min(item.done);
            }
        }
        deadline
    }

    /// What can be placed next.
    fn next(&self, from: usize, to: usize) -> impl Iterator<Item = usize> {
        let deadline = self.deadline();
        let items = (from..to).take_while(move |item| self.items[*item].invoked <= deadline);
        items.filter(|item| !self.is_placed[*item])
    }

    /// One that only looks, and sees what is there. To place it at once costs nothing: it changes nothing for the others.
    fn observation(&self, state: State) -> Option<(usize, State)> {
        let mut next = self.next(0, self.answered).filter(|item| self.items[*item].act.is_observation());
        next.find_map(|item| self.items[item].act.apply(state).map(|after| (item, after)))
    }

    fn candidates(&mut self, frame: &Frame) -> Vec<usize> {
        let next = self.next(0, self.answered).chain(self.next(self.answered, self.items.len()));
        let mut candidates: Vec<_> = next
            .filter(|item| {
                let after = self.items[*item].act.apply(frame.state);
                // A write without an answer that nobody saw and that makes no difference can as well not have happened.
                let is_idle = frame.unseen_since.is_some_and(|before| self.items[*item].act.apply(before) == after);
                after.is_some() && !is_idle
            })
            .collect();
        candidates.sort_by_key(|item| std::cmp::Reverse((self.items[*item].place, self.items[*item].done)));
        if self.left < self.stuck.0 {
            let first = self.next(0, self.answered).min_by_key(|item| self.items[*item].done);
            let told = first.map(|item| self.items[item].told.clone()).unwrap_or_default();
            self.stuck = (self.left, format!("{told}, when there is {:?}", frame.state));
        }
        candidates
    }
}

/// Versions are most likely the order; a removal comes after the last that is known of its object.
fn guess(items: &mut [Item]) {
    let mut of_value = BTreeMap::new();
    let mut of_uid: BTreeMap<u32, u64> = BTreeMap::new();
    for item in items.iter() {
        match item.act {
            Act::Seen(Some(cell)) | Act::Put(_, cell) => {
                let Some(version) = cell.version else { continue };
                of_value.insert(cell.value, version);
                if let Some(uid) = cell.uid {
                    of_uid.entry(uid).and_modify(|last| *last = version.max(*last)).or_insert(version);
                }
            }
            _ => {}
        }
    }
    for item in items {
        let place = match item.act {
            Act::Put(_, cell) => of_value.get(&cell.value).map(|version| version * 2),
            Act::Removed(_, Some(uid)) => of_uid.get(&uid).map(|version| version * 2 + 1),
            _ => None,
        };
        item.place = place.unwrap_or(u64::MAX);
    }
}
