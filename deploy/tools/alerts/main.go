// Command alerts checks Prometheus rules and runs their unit tests. The tests
// are files in the format of `promtool test rules` (of it: evaluation_interval,
// tests, interval, input_series and alert_rule_test), so that promtool takes
// them too; it is not used here because it cannot be built without the client
// libraries of every cloud.
//
//	alerts RULES TESTS
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
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

type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
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
	Alerts []expectation `yaml:"alert_rule_test"`
}

type expectation struct {
	At    model.Duration `yaml:"eval_time"`
	Alert string         `yaml:"alertname"`
	Want  []alert        `yaml:"exp_alerts"`
}

type alert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "alerts: want RULES TESTS")
		os.Exit(2)
	}
	n, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintf(os.Stderr, "alerts: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%d expectations met\n", n)
}

func run(rulesFile, testsFile string) (int, error) {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, p, slog.Default())
	if len(errs) > 0 {
		return 0, errors.Join(errs...)
	}
	file, err := os.Open(testsFile)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // only read
	var tests testFile
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	if err := decoder.Decode(&tests); err != nil {
		return 0, fmt.Errorf("%s: %w", testsFile, err)
	}
	met, tried := 0, map[string]bool{}
	for _, t := range tests.Tests {
		errs = append(errs, t.run(p, groups, time.Duration(tests.EvaluationInterval), tried))
		met += len(t.Alerts)
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if !tried[r.Alert] {
				errs = append(errs, fmt.Errorf("no test has the alert %q fire", r.Alert))
			}
		}
	}
	return met, errors.Join(errs...)
}

// run evaluates every rule at each step, as Prometheus does, and compares what
// fires at the times that are asked about.
func (u unit) run(p parser.Parser, groups *rulefmt.RuleGroups, step time.Duration, tried map[string]bool) error {
	var load strings.Builder
	fmt.Fprintf(&load, "load %s\n", u.Interval)
	for _, s := range u.Series {
		fmt.Fprintf(&load, "  %s %s\n", s.Series, s.Values)
	}
	data, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return fmt.Errorf("%s: %w", u.Name, err)
	}
	defer func() { _ = data.Close() }() // in memory
	query := rules.EngineQueryFunc(data.QueryEngine(), data.Queryable())
	var all []*rules.AlertingRule
	var last time.Duration
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return err
			}
			all = append(all, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.Default()))
		}
	}
	for _, e := range u.Alerts {
		last = max(last, time.Duration(e.At))
		if !slices.ContainsFunc(all, func(r *rules.AlertingRule) bool { return r.Name() == e.Alert }) {
			return fmt.Errorf("%s: there is no alert %q", u.Name, e.Alert)
		}
	}
	var errs []error
	for at := time.Duration(0); at <= last; at += step {
		now := time.Unix(0, 0).UTC().Add(at)
		data.WithSamplesTill(now, func(err error) { errs = append(errs, err) })
		for _, r := range all {
			if _, err := r.Eval(data.Context(), 0, now, query, nil, 0); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s at %v: %w", u.Name, r.Name(), at, err))
			}
		}
		for _, e := range u.Alerts {
			if time.Duration(e.At) == at {
				errs = append(errs, u.compare(e, all, tried))
			}
		}
	}
	return errors.Join(errs...)
}

func (u unit) compare(e expectation, all []*rules.AlertingRule, tried map[string]bool) error {
	var got []alert
	for _, r := range all {
		for _, a := range r.ActiveAlerts() {
			if r.Name() != e.Alert || a.State != rules.StateFiring {
				continue
			}
			ls := a.Labels.Map()
			delete(ls, labels.AlertName)
			got = append(got, alert{ls, a.Annotations.Map()})
		}
	}
	order := func(list []alert) []alert {
		slices.SortFunc(list, func(a, b alert) int { return strings.Compare(fmt.Sprint(a.Labels), fmt.Sprint(b.Labels)) })
		return list
	}
	if len(e.Want) > 0 {
		tried[e.Alert] = true
	}
	if len(got) == 0 && len(e.Want) == 0 || reflect.DeepEqual(order(got), order(e.Want)) {
		return nil
	}
	return fmt.Errorf("%s: %s at %s: fires\n  %v\nwant\n  %v", u.Name, e.Alert, e.At, got, e.Want)
}
