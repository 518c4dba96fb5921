//! The layers, read from docs/ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Which module may use which.
pub struct Layers {
    from_the_bottom: Vec<Vec<String>>,
    /// The sandbox is an independent witness: it may use only these.
    of_sandbox: Vec<String>,
}

impl Layers {
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
        Self::of(&fs::read_to_string(path).unwrap())
    }

    pub fn of(page: &str) -> Self {
        let (_, section) = page.split_once("\n## Layers\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with('|'));
        let mut aside = section
            .lines()
            .filter(|line| line.starts_with("`sandbox` "));
        Self {
            // The table's head takes two rows.
            from_the_bottom: rows.skip(2).map(code_names).collect(),
            of_sandbox: code_names(aside.next().unwrap().split(", and only").next().unwrap())
                .split_off(1),
        }
    }

    /// Every module in the table.
    pub fn modules(&self) -> BTreeSet<String> {
        let mut modules: BTreeSet<String> = self.from_the_bottom.concat().into_iter().collect();
        modules.insert("sandbox".to_owned());
        modules
    }

    pub fn allow(&self, module: &str, used: &str) -> bool {
        if module == used {
            true
        } else if module == "sandbox" {
            self.of_sandbox.iter().any(|allowed| allowed == used)
        } else if used == "sandbox" {
            self.height("app") <= self.height(module)
        } else {
            self.height(used) < self.height(module)
        }
    }

    fn height(&self, module: &str) -> usize {
        self.from_the_bottom
            .iter()
            .position(|layer| layer.iter().any(|name| name == module))
            .unwrap_or_else(|| panic!("`{module}` stands in no layer of docs/ARCHITECTURE.md"))
    }
}

fn code_names(line: &str) -> Vec<String> {
    let names = line.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}
