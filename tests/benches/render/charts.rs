//! The charts that are measured, written the way public charts are.

type Files = Vec<(String, Vec<u8>)>;

const HELPERS: &str = include_str!("helpers.tpl");
const COMPONENT: &str = include_str!("component.yaml");
const SMALL_VALUES: &str = include_str!("values.yaml");

fn file(path: &str, text: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (path.to_owned(), text.into())
}

/// A chart of five components: 20 objects.
pub(crate) fn small() -> Files {
    vec![
        file("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\nappVersion: \"4.2\"\n"),
        file("values.yaml", SMALL_VALUES),
        file("templates/_helpers.tpl", HELPERS),
        file("templates/components.yaml", COMPONENT),
    ]
}

/// Values of one cluster.
pub(crate) fn values(cluster: usize) -> String {
    format!(
        "global:\n  cluster: edge-{cluster}\n  zone: z{}\ncommonLabels:\n  site: \"{cluster}\"\ncomponents:\n  \
         front:\n    replicas: {}\n    env:\n      CLUSTER: edge-{cluster}\n      TOKEN: t{:x}\n",
        cluster % 7,
        1 + cluster % 4,
        cluster.wrapping_mul(2_654_435_761)
    )
}

/// A thousand objects, and five megabytes of custom resource definitions.
pub(crate) fn large() -> Files {
    let mut names = String::new();
    for at in 0..250 {
        names.push_str(&format!("  part{at}: {{port: {}}}\n", 8000 + at));
    }
    let mut files = vec![
        file("Chart.yaml", "apiVersion: v2\nname: platform\nversion: 1.0.0\nappVersion: \"4.2\"\n"),
        file("values.yaml", format!("{}{names}", SMALL_VALUES.split("  front:").next().unwrap_or_default())),
        file("templates/_helpers.tpl", HELPERS),
        file("templates/components.yaml", COMPONENT),
    ];
    for at in 0..10 {
        files.push(file(&format!("crds/things{at}.yaml"), definition(at)));
    }
    files
}

/// A definition of half a megabyte: nested properties with descriptions, as generators write them.
fn definition(number: usize) -> String {
    let mut out = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  \
         name: things{number}.bench.example.org\nspec:\n  group: bench.example.org\n  names:\n    \
         kind: Thing{number}\n    plural: things{number}\n  scope: Namespaced\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        \
         properties:\n"
    );
    for property in 0..850 {
        let indent = " ".repeat(10);
        out.push_str(&format!(
            "{indent}field{property}:\n{indent}  description: |-\n{indent}    Field {property} says how much of \
             the thing is wanted: when it is empty,\n{indent}    \"the default\" of the operator is taken \
             (see 'spec.defaults' for details).\n{indent}    More of it costs more: consider a limit.\n\
             {indent}  type: object\n{indent}  properties:\n{indent}    name:\n{indent}      type: string\n\
             {indent}      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'\n{indent}    count:\n\
             {indent}      type: integer\n{indent}      format: int32\n{indent}      minimum: 0\n\
             {indent}  required: [name]\n"
        ));
    }
    out
}
