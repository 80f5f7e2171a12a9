//! Results of runs that are made of seeds: the parts of several calls become one
//! result, and their sums are held against what must be reached.

use crate::machine::commit;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The figures of this commit's earlier calls; none of another commit's.
pub(crate) fn earlier(name: &str) -> Result<Value> {
    let path = format!("bench/results/{name}.json");
    let Ok(text) = std::fs::read(&path) else {
        return Ok(json!({}));
    };
    let result: Value = serde_json::from_slice(&text).with_context(|| format!("read {path}"))?;
    let same = result["commit"] == commit()["commit"];
    Ok(if same {
        result["figures"].clone()
    } else {
        json!({})
    })
}

/// All seeds of both, a repeated one as it came last, and their sums as `total`.
pub(crate) fn merged(earlier: &Value, now: &Value) -> Value {
    let mut seeds = Map::new();
    for figures in [earlier, now] {
        let of = figures.as_object().into_iter().flatten();
        seeds.extend(
            of.filter(|(name, _)| name.starts_with("seed "))
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    if seeds.is_empty() {
        return json!({});
    }
    let mut total = json!({});
    for figures in seeds.values() {
        add(&mut total, figures);
    }
    seeds.insert("total".to_owned(), total);
    Value::Object(seeds)
}

/// Adds numbers, however deep.
fn add(sum: &mut Value, more: &Value) {
    match more {
        Value::Object(members) => {
            if !sum.is_object() {
                *sum = json!({});
            }
            for (name, value) in members {
                add(&mut sum[name.as_str()], value);
            }
        }
        Value::Number(number) => {
            let value = sum.as_u64().unwrap_or(0) + number.as_u64().unwrap_or(0);
            *sum = value.into();
        }
        _ => {}
    }
}

/// What the sums do not reach, in words.
pub(crate) fn short_of(figures: &Value, needs: &[(&str, u64)]) -> Vec<String> {
    let missing = |(pointer, least): &(&str, u64)| {
        let value = figures["total"].pointer(pointer).and_then(Value::as_u64);
        let value = value.unwrap_or(0);
        (value < *least).then(|| format!("{pointer} is {value}, {least} are needed: add seeds"))
    };
    needs.iter().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_merged_and_summed_and_held_against_what_is_needed() {
        let first = json!({"seed 1": {"kills": 2, "hits": {"a": 1}}, "total": {"kills": 99}});
        let second = json!({"seed 2": {"kills": 3, "hits": {"b": 4}}, "tests_passed": 1});
        let both = merged(&first, &second);
        assert_eq!(both["total"], json!({"kills": 5, "hits": {"a": 1, "b": 4}}));
        assert_eq!(merged(&both, &second), both);
        assert_eq!(short_of(&both, &[("/kills", 5), ("/hits/b", 4)]), [""; 0]);
        assert_eq!(short_of(&both, &[("/hits/c", 1)]).len(), 1);
        assert_eq!(merged(&json!({}), &json!({"tests_failed": 1})), json!({}));
    }
}
