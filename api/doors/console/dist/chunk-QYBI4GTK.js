import{j as o}from"./chunk-73G663VH.js";var n=o(null),p=o(null);export{n as a,p as b};
