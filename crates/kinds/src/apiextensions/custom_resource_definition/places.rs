//! Where in a schema a complaint is: steps kept in one list, for walks with a stack of their own.

/// One step down a schema.
#[derive(Clone, Copy, Debug)]
pub enum Step<'t> {
    /// A schema in a field: `items`.
    Field(&'static str),
    /// A schema in a map: `properties[spec]`.
    Key(&'static str, &'t str),
    /// A schema in a list: `anyOf[0]`.
    Index(&'static str, usize),
}

/// A place that [`Places`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot(u32);

/// All places of one walk.
#[derive(Debug)]
pub struct Places<'t> {
    base: &'t str,
    steps: Vec<(Spot, Step<'t>)>,
}

impl<'t> Places<'t> {
    /// The schema itself.
    pub const ROOT: Spot = Spot(0);

    /// Places below this path.
    pub fn new(base: &'t str) -> Places<'t> {
        Places { base, steps: Vec::new() }
    }

    /// A step down.
    pub fn add(&mut self, above: Spot, step: Step<'t>) -> Spot {
        self.steps.push((above, step));
        Spot(u32::try_from(self.steps.len()).unwrap_or_default())
    }

    /// The path of a place.
    pub fn text(&self, spot: Spot) -> String {
        let (mut steps, mut here) = (Vec::new(), spot);
        while let Some((above, step)) = (here.0 as usize).checked_sub(1).and_then(|at| self.steps.get(at)) {
            steps.push(*step);
            here = *above;
        }
        let mut text = self.base.to_owned();
        for step in steps.into_iter().rev() {
            text.push('.');
            match step {
                Step::Field(name) => text.push_str(name),
                Step::Key(name, key) => text.extend([name, "[", key, "]"]),
                Step::Index(name, index) => text.push_str(&format!("{name}[{index}]")),
            }
        }
        text
    }

    /// The path of a field of a place. Names with dots go down several fields.
    pub fn field(&self, spot: Spot, name: &str) -> String {
        let mut text = self.text(spot);
        text.push('.');
        text.push_str(name);
        text
    }
}
