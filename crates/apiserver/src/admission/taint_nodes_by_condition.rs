//! TaintNodesByCondition: no pod comes to a new node before somebody has seen that it is ready (upstream:
//! `plugin/pkg/admission/nodetaint`). Whoever watches nodes takes the taint away.

use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Node, NodeEdit};

use super::{Attempt, Operation, Pass, Plugin, stored};
use crate::registry::Served;

const TAINT: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

/// The plugin.
pub struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is(stored::NODES.0, stored::NODES.1)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if !attempt.subresource().is_empty() {
            return Pass::on();
        }
        if let Some(node) = attempt.object.as_deref_mut() {
            let mut node = views::write::<NodeEdit<'_>>(node);
            let is_tainted = |node: Node<'_>| {
                node.spec().taints().iter().any(|taint| taint.key() == TAINT && taint.effect() == EFFECT)
            };
            if !is_tainted(node.view()) {
                let mut spec = node.spec_mut();
                let mut taints = spec.taints_mut();
                let mut taint = taints.push();
                taint.set_key(TAINT);
                taint.set_effect(EFFECT);
            }
        }
        Pass::on()
    }
}
