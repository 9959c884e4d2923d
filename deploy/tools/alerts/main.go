// Command alerts prints, as JSON, which alerts of Prometheus rules fire on given
// series, as Prometheus' own engine evaluates them. The series are files in the
// format of `promtool test rules` (of it: evaluation_interval, tests, name, interval
// and input_series, and of alert_rule_test the times); promtool is not used because it
// cannot be built without the client libraries of every cloud.
//
//	alerts RULES SERIES
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

type seriesFile struct {
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []unit         `yaml:"tests"`
}

type unit struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Times []struct {
		At model.Duration `yaml:"eval_time"`
	} `yaml:"alert_rule_test"`
}

// firing is what fires at a time of a test.
type firing struct {
	Test   string
	At     string
	Alerts []alert
}

type alert struct {
	Labels      map[string]string
	Annotations map[string]string
	Value       float64
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "alerts: want RULES SERIES")
		os.Exit(2)
	}
	found, err := run(os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "alerts: %v\n", err)
		os.Exit(1)
	}
}

func run(rulesFile, file string) ([]firing, error) {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, p, slog.Default())
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	content, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // only read
	var tests seriesFile
	decoder := yaml.NewDecoder(content)
	decoder.KnownFields(true)
	if err := decoder.Decode(&tests); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var found []firing
	for _, t := range tests.Tests {
		fires, err := t.run(p, groups, time.Duration(tests.EvaluationInterval))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		found = append(found, fires...)
	}
	return found, nil
}

// longestFor is no shorter than any rule's for: what fires depends on no evaluation that
// is longer ago.
const longestFor = time.Hour

// run evaluates every rule at each step, as Prometheus does, and returns what fires at
// the times that are asked about.
func (u unit) run(p parser.Parser, groups *rulefmt.RuleGroups, step time.Duration) (found []firing, err error) {
	var load strings.Builder
	fmt.Fprintf(&load, "load %s\n", u.Interval)
	for _, s := range u.Series {
		fmt.Fprintf(&load, "  %s %s\n", s.Series, s.Values)
	}
	data, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = data.Close() }() // in memory
	query := rules.EngineQueryFunc(data.QueryEngine(), data.Queryable())
	var all []*rules.AlertingRule
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return nil, err
			}
			if time.Duration(r.For) > longestFor || r.KeepFiringFor > 0 {
				return nil, fmt.Errorf("%s: for is longer than %v, or it keeps firing", r.Alert, longestFor)
			}
			all = append(all, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.Default()))
		}
	}
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	for _, t := range u.Times {
		first, last = min(first, time.Duration(t.At)), max(last, time.Duration(t.At))
	}
	var errs []error
	for at := max(0, first-longestFor).Truncate(step); at <= last; at += step {
		now := time.Unix(0, 0).UTC().Add(at)
		data.WithSamplesTill(now, func(err error) { errs = append(errs, err) })
		for _, r := range all {
			if _, err := r.Eval(data.Context(), 0, now, query, nil, 0); err != nil {
				errs = append(errs, fmt.Errorf("%s at %v: %w", r.Name(), at, err))
			}
		}
		for _, t := range u.Times {
			if time.Duration(t.At) == at {
				found = append(found, firing{u.Name, t.At.String(), firingOf(all)})
			}
		}
	}
	return found, errors.Join(errs...)
}

// firingOf are the alerts that fire now.
func firingOf(all []*rules.AlertingRule) []alert {
	firing := []alert{}
	for _, r := range all {
		for _, a := range r.ActiveAlerts() {
			if a.State == rules.StateFiring {
				firing = append(firing, alert{a.Labels.Map(), a.Annotations.Map(), a.Value})
			}
		}
	}
	return firing
}
