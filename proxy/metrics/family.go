package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Family describes one metric, for documentation.
type Family struct {
	Name, Type, Help string
	Labels           []string
}

// The types of Family.
const (
	counterType   = "counter"
	gaugeType     = "gauge"
	histogramType = "histogram"
)

// Families are the metrics there are, by name, without those of the Go runtime
// and the process.
func (m *Metrics) Families() []Family {
	all := slices.Clone(m.families)
	slices.SortFunc(all, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// familyBuilder makes metrics, registers them and notes what they are. The
// registry is new, so that only a fault here could make two of one name.
type familyBuilder struct {
	registry *prometheus.Registry
	families []Family
}

func (b *familyBuilder) note(name, kind, help string, labels []string) {
	b.families = append(b.families, Family{Name: name, Type: kind, Help: help, Labels: labels})
}

func (b *familyBuilder) counter(name, help string, labels ...string) *prometheus.CounterVec {
	b.note(name, counterType, help, labels)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	b.registry.MustRegister(v)
	return v
}

func (b *familyBuilder) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	b.note(name, gaugeType, help, labels)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	b.registry.MustRegister(v)
	return v
}

func (b *familyBuilder) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	b.note(name, histogramType, help, labels)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	b.registry.MustRegister(v)
	return v
}

// read describes what Sources are asked for.
func (b *familyBuilder) read(name, kind, help string, labels ...string) *prometheus.Desc {
	b.note(name, kind, help, labels)
	return prometheus.NewDesc(name, help, labels, nil)
}
