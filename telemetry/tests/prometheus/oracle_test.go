// Writes the answers of Prometheus' own engine into answers.json, beside this file:
//
//	go mod init oracle && go get github.com/prometheus/prometheus@v0.315.0 && go mod tidy && go test
//
// Only needed when cases are added there: a case is [query, start, end, step, answers], times in milliseconds,
// step 0 for an instant query. The answers are committed, so that the tests need no Go.
package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const file = "answers.json"

func number(value float64) string { return strconv.FormatFloat(value, 'g', 9, 64) }

func name(set labels.Labels) string {
	text, _ := json.Marshal(set.Map())
	return string(text)
}

func answers(result *promql.Result) []string {
	rows := []string{}
	if result.Err != nil {
		return append(rows, "error: "+result.Err.Error())
	}
	switch value := result.Value.(type) {
	case promql.Vector:
		for _, sample := range value {
			rows = append(rows, fmt.Sprintf("%s %d:%s", name(sample.Metric), sample.T, number(sample.F)))
		}
	case promql.Matrix:
		for _, series := range value {
			row := name(series.Metric)
			for _, point := range series.Floats {
				row += fmt.Sprintf(" %d:%s", point.T, number(point.F))
			}
			rows = append(rows, row)
		}
	case promql.Scalar:
		rows = append(rows, fmt.Sprintf("scalar %d:%s", value.T, number(value.V)))
	case promql.String:
		rows = append(rows, "string "+value.V)
	}
	sort.Strings(rows)
	return rows
}

func TestWriteAnswers(t *testing.T) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Load  string               `json:"load"`
		Cases [][]json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	storage := promqltest.LoadedStorage(t, known.Load)
	defer storage.Close()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		LookbackDelta:            5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 60_000 },
		Parser:                   parser.NewParser(parser.Options{EnableExperimentalFunctions: true}),
	})
	lines := []string{}
	for _, known := range known.Cases {
		var expression string
		var start, end, step int64
		for at, target := range []any{&expression, &start, &end, &step} {
			if err := json.Unmarshal(known[at], target); err != nil {
				t.Fatal(err)
			}
		}
		var query promql.Query
		ctx := context.Background()
		if step == 0 {
			query, err = engine.NewInstantQuery(ctx, storage, nil, expression, time.UnixMilli(start))
		} else {
			interval := time.Duration(step) * time.Millisecond
			query, err = engine.NewRangeQuery(ctx, storage, nil, expression, time.UnixMilli(start), time.UnixMilli(end), interval)
		}
		rows := []string{}
		if err != nil {
			rows = append(rows, "error: "+err.Error())
		} else {
			rows = answers(query.Exec(ctx))
			query.Close()
		}
		line, _ := json.Marshal([]any{expression, start, end, step, rows})
		lines = append(lines, string(line))
	}
	load, _ := json.Marshal(known.Load)
	text = []byte(fmt.Sprintf("{\"load\":%s,\n\"cases\":[\n%s\n]}\n", load, strings.Join(lines, ",\n")))
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
